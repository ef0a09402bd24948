"""The strength of a LoRA in one layer: one formula for drawing, baking and the hosts."""

from __future__ import annotations

from functools import lru_cache

from lib_rimo.lora.blocks import place_of_key
from lib_rimo.weights.block_weights import BlockWeights
from lib_rimo.weights.ramp import value_at
from lib_rimo.weights.tags import LoraTag


@lru_cache(maxsize=1 << 15)
def factor_at(blocks: BlockWeights, layer: str, family: str) -> float:
    """What block weights multiply a LoRA's own strength by in a layer; remembered.

    `layer` is a key of a LoRA file or a host's name of the layer.
    """
    return blocks.of(*place_of_key(layer, family))


def layer_strength(tag: LoraTag, layer: str, family: str) -> float:
    """The strength of a tag's LoRA in a layer, at the first step (`LoraTag.at` for another)."""
    in_text = place_of_key(layer, family)[0] == "BASE"
    strength = value_at(tag.te if in_text else tag.unet, 0, 1)
    return strength if tag.blocks is None else strength * factor_at(tag.blocks, layer, family)
