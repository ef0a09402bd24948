"""The strength of a LoRA in one layer: one formula for drawing, baking and the hosts."""

from __future__ import annotations

from functools import lru_cache

from lib_rimo.lora.blocks import place_of_key
from lib_rimo.weights.block_weights import BlockWeights
from lib_rimo.weights.tags import LoraTag


@lru_cache(maxsize=1 << 15)
def factor_at(blocks: BlockWeights, layer: str, family: str) -> float:
    """What block weights multiply a LoRA's own strength by in a layer; remembered.

    `layer` is a key of a LoRA file or a host's name of the layer.
    """
    return blocks.of(*place_of_key(layer, family))


def layer_strength(tag: LoraTag, layer: str, family: str) -> float:
    """The strength of a tag's LoRA in a layer."""
    strength = tag.te if place_of_key(layer, family)[0] == "BASE" else tag.unet
    return strength if tag.blocks is None else strength * factor_at(tag.blocks, layer, family)
