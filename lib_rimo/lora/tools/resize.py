"""Gives a LoRA other ranks: fewer for a smaller file, by singular values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lib_rimo.errors import UserError
from lib_rimo.lora.delta import (
    Tensors,
    embeddings_in,
    form_of,
    scale_of,
    split_modules,
    weight_delta,
)
from lib_rimo.lora.description import empty_base
from lib_rimo.lora.files import LoraFile
from lib_rimo.lora.tools.factors import Factors, RankLimit, factorize, factorize_product
from lib_rimo.lora.tools.record import network_facts, stored_dtype
from lib_rimo.text import printable

_NOT_FACTORED = ("norm",)


@dataclass(frozen=True)
class Resized:
    """The file, and which share of each layer's change (Frobenius norm) is still there."""

    file: LoraFile
    kept: dict[str, float]


def resize(
    file: LoraFile,
    limit: RankLimit,
    *,
    dtype: torch.dtype | None = None,
    base_of: Callable[[str], Tensor | None] = lambda key: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Resized:
    """A plain LoRA of other ranks that changes a model as `file` does, as nearly as they allow.

    Layers of other forms (LoHa, LoKr, full differences ...) become plain ones too; differences of
    norms and of biases stay as they are. `base_of` gives the base model's weight of a layer, which
    DoRA, IA3, OFT and GLoRA need. `dtype` is that of the numbers in the file, None for its own.
    Raises UserError for a layer that cannot be factored.
    """
    tensors: dict[str, Tensor] = {}
    kept: dict[str, float] = {}
    modules = split_modules(file.tensors)
    dtype = dtype or stored_dtype(file.tensors)
    for done, (key, module) in enumerate(modules.items()):
        progress(done, len(modules))
        if form_of(module).name in _NOT_FACTORED or "diff_b" in module:
            new = dict(module)
        else:
            factors, scale = factored(key, module, limit, base_of)
            new, kept[key] = factors.tensors(scale), factors.kept
        tensors |= {
            f"{key}.{name}": tensor.to(dtype if tensor.is_floating_point() else None).contiguous()
            for name, tensor in new.items()
        }
    if not kept:
        raise UserError("It has no layer of two factors, whose rank could be another one.")
    for embedding in embeddings_in(file.tensors).values():
        tensors |= embedding
    comment = file.metadata.get("ss_training_comment", "None")
    before = file.metadata.get("ss_network_dim", "unknown")
    facts = network_facts(split_modules(tensors))
    changed = f"dimension is resized from {before} to {facts['ss_network_dim']}; {comment}"
    return Resized(
        LoraFile(tensors, {**file.metadata, **facts, "ss_training_comment": changed}), kept
    )


def factored(
    key: str, module: Tensors, limit: RankLimit, base_of: Callable[[str], Tensor | None]
) -> tuple[Factors, float]:
    """A layer's factors, and what their product is multiplied by (alpha / rank).

    Raises UserError for a layer that depends on a base model which is not there.
    """
    if is_plain(module):
        up, down = module["lora_up.weight"], module["lora_down.weight"]
        return factorize_product(up, down, limit), scale_of(module)
    return factorize(whole_change(key, module, base_of), limit), 1.0


def is_plain(module: Tensors) -> bool:
    """Whether a layer is the product of two matrices and nothing else."""
    is_lora = form_of(module).name == "lora"
    return is_lora and "dora_scale" not in module and "lora_mid.weight" not in module


def whole_change(key: str, module: Tensors, base_of: Callable[[str], Tensor | None]) -> Tensor:
    """The change of a layer's weight (out, in[, kh, kw]) in float32.

    Raises UserError for a layer that depends on a base model which is not there.
    """
    form = form_of(module)
    base = base_of(key)
    if base is None:
        if form.reads_base or "dora_scale" in module:
            raise UserError(
                "{key} is a layer in {form}, which changes each base model in its own way: "
                "give the base model with --model.",
                key=printable(key),
                form="DoRA" if "dora_scale" in module else form.label,
            )
        base = empty_base(module)
    return weight_delta(module, base)
