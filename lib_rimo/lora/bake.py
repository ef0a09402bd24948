"""Writes block weights into a LoRA file, whose plain use is then the weighted use."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from torch import Tensor

from lib_rimo.errors import UserError
from lib_rimo.lora.delta import embeddings_in, is_scalable, scaled, split_modules
from lib_rimo.lora.files import LoraFile
from lib_rimo.text import parse_json

BAKED = "rimo_baked_weights"


def bake(
    file: LoraFile,
    strength_of: Callable[[str], float],
    description: str,
    base_of: Callable[[str], Tensor | None] = lambda key: None,
) -> LoraFile:
    """A file whose plain use changes a model exactly as `file` does with these strengths.

    `strength_of` gives the strength of a layer by its key; layers with 0 are left out. `base_of`
    gives the base model's weight of a layer, which only DoRA layers with a strength between need.
    `description` is kept in the metadata, behind those of earlier bakings. Raises UserError when
    nothing is left.
    """
    tensors: dict[str, Tensor] = {}
    for key, module in split_modules(file.tensors).items():
        strength = strength_of(key)
        if strength == 0:
            continue
        base = None if is_scalable(module, strength) else base_of(key)
        for name, tensor in scaled(module, strength, base).items():
            tensors[f"{key}.{name}"] = tensor.contiguous()
    if not tensors:
        raise UserError("These weights are 0 in every block of the LoRA: nothing would be left.")
    for embedding in embeddings_in(file.tensors).values():
        tensors |= embedding
    bakings = [*_earlier_bakings(file.metadata), description]
    return LoraFile(tensors, {**file.metadata, BAKED: json.dumps(bakings)})


def _earlier_bakings(metadata: Mapping[str, str]) -> list[str]:
    try:
        bakings = parse_json(metadata.get(BAKED, "[]"))
    except ValueError:
        return []
    return [str(baking) for baking in bakings] if isinstance(bakings, list) else []
