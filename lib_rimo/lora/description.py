"""What a LoRA file is: its family, its form, its ranks and how much it changes in each block."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lib_rimo.errors import UserError
from lib_rimo.lora import facts
from lib_rimo.lora.blocks import BLOCKS, block_of_key
from lib_rimo.lora.delta import Tensors, form_of, network_type, scale_of, weight_delta
from lib_rimo.text import parse_json, printable


@dataclass(frozen=True)
class Description:
    """What `info` tells of a file. Norms are Frobenius norms of a block's whole change."""

    family: str
    network_type: str
    layers: int
    dims: dict[int, int]  # rank -> layers that have it
    alphas: dict[float, int]
    norms: dict[str, float]  # block -> norm; blocks without layers are not in it


def describe(modules: Mapping[str, Tensors], metadata: Mapping[str, str]) -> Description:
    """Look a file's layers through; `modules` as `lib_rimo.lora.delta.split_modules` gives them.

    Raises UserError for a layer whose change is beyond all numbers.
    """
    family = family_of(modules, metadata)
    dims: dict[int, int] = {}
    alphas: dict[float, int] = {}
    squares: dict[str, float] = {}
    for key, tensors in modules.items():
        rank = form_of(tensors).rank(tensors)
        if rank is not None:
            dims[rank] = dims.get(rank, 0) + 1
            alpha = round(scale_of(tensors) * rank, 4)
            alphas[alpha] = alphas.get(alpha, 0) + 1
        block = block_of_key(key, family) or "other"
        norm = change_norm(tensors)
        if not math.isfinite(norm):
            raise UserError("{layer} changes by more than a number can hold.", layer=printable(key))
        squares[block] = squares.get(block, 0.0) + norm**2
    order = [*BLOCKS, "other"]
    return Description(
        family=family,
        network_type=network_type(modules),
        layers=len(modules),
        dims=dict(sorted(dims.items())),
        alphas=dict(sorted(alphas.items())),
        norms={block: math.sqrt(squares[block]) for block in order if block in squares},
    )


_NO_FACTORS = ("alpha", "scale", "on_input", "rescale")


def change_norm(tensors: Tensors) -> float:
    """The norm of a layer's change; of its factors where it depends on the base model."""
    if "dora_scale" in tensors:
        tensors = {name: tensor for name, tensor in tensors.items() if name != "dora_scale"}
    form = form_of(tensors)
    if form.reads_base:
        factors = [tensor for name, tensor in tensors.items() if name not in _NO_FACTORS]
        return math.sqrt(sum(float(factor.float().norm()) ** 2 for factor in factors))
    return float(weight_delta(tensors, empty_base(tensors)).norm())


def empty_base(tensors: Tensors, device: str = "cpu") -> Tensor:
    """A weight of zeros in the shape that a layer's change has."""
    shape: tuple[int, ...]
    if "lora_up.weight" in tensors:
        middle = tensors.get("lora_mid.weight", tensors["lora_down.weight"])
        shape = (len(tensors["lora_up.weight"]), *tensors["lora_down.weight"].shape[1:2])
        shape += tuple(middle.shape[2:])
    elif "hada_t1" in tensors:
        core = tensors["hada_t1"]
        shape = (tensors["hada_w1_a"].shape[1], tensors["hada_w1_b"].shape[1], *core.shape[2:])
    elif "hada_w1_a" in tensors:
        shape = (tensors["hada_w1_a"].shape[0], tensors["hada_w1_b"].shape[1])
    elif form_of(tensors).name == "lokr":
        shape = _kronecker_shape(tensors)
    else:
        shape = tuple(tensors.get("diff", tensors.get("w_norm", torch.zeros(1))).shape)
    return torch.zeros(shape, device=device)


def _kronecker_shape(tensors: Tensors) -> tuple[int, ...]:
    def factor(number: int) -> tuple[int, ...]:
        whole = tensors.get(f"lokr_w{number}")
        if whole is not None:
            return tuple(whole.shape)
        a, b = tensors[f"lokr_w{number}_a"], tensors[f"lokr_w{number}_b"]
        core = tensors.get(f"lokr_t{number}")
        if core is not None:
            return (a.shape[1], b.shape[1], *core.shape[2:])
        return (a.shape[0], b.shape[1])

    first, second = factor(1), factor(2)
    return (first[0] * second[0], first[1] * second[1], *second[2:])


def family_of(modules: Mapping[str, Tensors], metadata: Mapping[str, str]) -> str:
    """The model that a file was made for, as `lib_rimo.lora.facts.family_of` has it."""
    shapes = {
        f"{key}.{name}": tuple(tensor.shape)
        for key, tensors in modules.items()
        for name, tensor in tensors.items()
    }
    return facts.family_of(shapes, metadata)


def tag_frequency(metadata: Mapping[str, str]) -> dict[str, int]:
    """The training captions' tags and how many pictures had each, most frequent first."""
    total: dict[str, int] = {}
    try:
        folders: Any = parse_json(metadata.get("ss_tag_frequency", "{}"))
        for tags in folders.values():
            for tag, count in tags.items():
                total[tag.strip()] = total.get(tag.strip(), 0) + int(count)
    except (ValueError, AttributeError, TypeError, OverflowError, RecursionError):
        return {}  # the user's program may have written anything there
    return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))
