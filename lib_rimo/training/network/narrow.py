"""Frozen weights stored in one byte each, and widened wherever something is computed with them.

A value is what is stored times the scale of its output: fp8 (e4m3) reaches to 448, int8 to 127.
Plainly cast, most weights of a UNet, which are below 0.02, would fall among fp8's coarsest steps.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional

from lib_rimo.training.network.products import applied, product

FP8 = torch.float8_e4m3fn
LARGEST = {FP8: 448.0, torch.int8: 127.0}


def narrow_type(device: torch.device) -> torch.dtype:
    """fp8, or int8 on a device that has no fp8."""
    return torch.int8 if device.type == "mps" else FP8


def narrowed(weight: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """(out, ...) in one byte each, and the scales of the outputs, (out, 1, ...) in its old type."""
    largest = weight.flatten(1).abs().amax(1).view(-1, *(1,) * (weight.dim() - 1))
    scale = (largest / LARGEST[dtype]).clamp(min=torch.finfo(weight.dtype).tiny)
    values = weight.float() / scale.float()
    if dtype == torch.int8:
        values = values.round()
    return values.to(dtype), scale


def widened(weight: Tensor, scale: Tensor | None, dtype: torch.dtype) -> Tensor:
    """A weight as it is computed with; without a scale it is stored as wide as it is."""
    return weight if scale is None else weight.to(dtype) * scale.to(dtype)


def scale_of(layer: nn.Module) -> Tensor | None:
    """The scales of a layer's outputs where its weight is stored narrow."""
    scale: Tensor | None = getattr(layer, "weight_scale", None)
    return scale


def narrow(layer: nn.Linear | nn.Conv2d, dtype: torch.dtype) -> None:
    """Store a frozen layer's weight in one byte a value."""
    weight, scale = narrowed(layer.weight.detach(), dtype)
    layer.weight = nn.Parameter(weight, requires_grad=False)
    layer.register_buffer("weight_scale", scale)
    if type(layer) is nn.Linear:
        layer.__class__ = NarrowLinear


def narrow_unet(unet: UNet2DConditionModel, dtype: torch.dtype, device: torch.device) -> None:
    """Store the weights of a UNet's blocks narrow, layer by layer on the device.

    What comes before and after the blocks stays as it is: it is little, and weighs much.
    """
    for part in (*unet.down_blocks, unet.mid_block, *unet.up_blocks):
        for layer in part.modules():
            if isinstance(layer, (nn.Linear, nn.Conv2d)):
                narrow(layer.to(device), dtype)


class NarrowLinear(nn.Linear):
    """A frozen linear layer whose weight is widened for the moment, forward and backward."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return applied(_NarrowLinear, x, self.weight, self.weight_scale, self.bias)


class _NarrowLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight, scale)
        return functional.linear(x, widened(weight, scale, x.dtype), bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight, scale = ctx.saved_tensors
        rows = gradient.reshape(-1, gradient.shape[-1])
        of_rows = product(rows, widened(weight, scale, rows.dtype).t())
        return of_rows.view(*gradient.shape[:-1], -1), None, None, None
