"""Whether a LoRA file's tensors can be used at all, told before anything is computed with them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from lib_rimo.errors import UserError
from lib_rimo.lora.delta import Form, Tensors, form_of
from lib_rimo.lora.description import empty_base
from lib_rimo.text import printable, shortened

# Numbers of a layer's weight; SDXL's largest has 30 million. A file of a few kilobytes may ask for
# any amount, as it holds two factors only.
LARGEST_LAYER = 1 << 28
NUMBERS = ("alpha", "scale", "on_input")  # parts that are one number each


def check_layers(modules: Mapping[str, Tensors]) -> None:
    """Refuse layers that cannot be used: UserError, one sentence that names the first."""
    if not modules:
        raise UserError("it holds no layers.")
    for key, tensors in modules.items():
        try:
            _check_layer(tensors)
        except UserError as error:
            shown = printable(key)
            raise UserError("{layer}: {why}", layer=shown, why=error) from None


def _check_layer(tensors: Tensors) -> None:
    form = form_of(tensors)
    for name, tensor in tensors.items():
        if name in NUMBERS and tensor.numel() != 1:
            raise UserError(
                "{tensor} has {n} numbers in place of one.", tensor=name, n=tensor.numel()
            )
        if tensor.is_complex():
            raise UserError("{tensor} holds complex numbers.", tensor=name)
        if not bool(tensor.float().isfinite().all()):
            raise UserError(
                "{tensor} holds numbers that are none (NaN or infinite): train it again, with a "
                "lower learning rate.",
                tensor=name,
            )
        if name not in NUMBERS and (tensor.ndim == 0 or tensor.numel() == 0):
            raise UserError(
                "{tensor} is empty or no matrix ({size}).", tensor=name, size=_sized(tensor)
            )
    try:
        shape = _shape(form, tensors)
    except (RuntimeError, IndexError, ValueError) as error:
        shapes = ", ".join(f"{name} {_sized(tensor)}" for name, tensor in tensors.items())
        raise UserError(
            "its tensors don't fit together ({shapes}).", shapes=shortened(shapes, 200)
        ) from error
    if math.prod(shape) > LARGEST_LAYER:
        size = "x".join(map(str, shape))
        raise UserError("no model has a layer of {size} numbers.", size=size)


def _sized(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "1"


def _shape(form: Form, tensors: Tensors) -> tuple[int, ...]:
    """The shape of a layer's change, without computing it; raises where there is none."""
    if form.reads_base:
        return _check_shapes_of(form, tensors)
    shape = tuple(empty_base(tensors, device="meta").shape)
    if math.prod(shape) <= LARGEST_LAYER:
        drawn_out = {name: tensor.to("meta") for name, tensor in tensors.items()}
        form.change(drawn_out, torch.zeros(shape, device="meta"), None).reshape(shape)
    return shape


def _check_shapes_of(form: Form, tensors: Tensors) -> tuple[int, ...]:
    """For forms that depend on the model's weight: what can be told without it."""
    if form.name == "glora":
        a, b = (tensors[name].flatten(1) for name in ("a1.weight", "a2.weight"))
        if a.shape != b.shape[::-1]:
            raise ValueError
    if form.name == "oft":
        turns = tensors.get("oft_blocks", tensors.get("oft_diag"))
        if turns is None or turns.ndim not in (3, 4) or turns.shape[-1] != turns.shape[-2]:
            raise ValueError
    return max((tuple(t.shape) for t in tensors.values()), key=math.prod)
