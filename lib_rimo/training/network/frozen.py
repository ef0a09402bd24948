"""Frozen layers of a model that is trained through, which compute little and keep little.

A frozen layer has no gradient of its weights: for the one of its input it needs its weight alone.
All values are those of PyTorch's own layers, up to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib_rimo.training.network.narrow import scale_of, widened
from lib_rimo.training.network.products import applied, product

aten = torch.ops.aten
FEW_POSITIONS = 320
"""Of a map of no more positions, a 3x3 convolution on a CPU runs as one matrix product: there
oneDNN's convolution spends most of its time reordering the weights, at every call."""


class FrozenConv2d(nn.Conv2d):
    """A convolution whose weights are never trained."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, h, w) -> (B, out, h', w')."""
        stored = self.weight, scale_of(self)
        return applied(_FrozenConv, x, *stored, self.bias, self.stride, self.padding)


class _FrozenConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        scale: Tensor | None,
        bias: Tensor | None,
        stride: tuple[int, int],
        padding: tuple[int, int],
    ) -> Tensor:
        ctx.save_for_backward(weight, scale)
        weight = widened(weight, scale, x.dtype)
        x = x.to(weight.dtype)
        ctx.x_shape, ctx.stride, ctx.padding = x.shape, stride, padding
        ctx.as_product = (
            x.device.type == "cpu"
            and x.shape[2] * x.shape[3] <= FEW_POSITIONS
            and (tuple(weight.shape[2:]), tuple(stride), tuple(padding)) == ((3, 3), (1, 1), (1, 1))
        )
        if ctx.as_product:
            return _conv_as_product(x, weight, bias)
        return functional.conv2d(x, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight, scale = ctx.saved_tensors
        weight = widened(weight, scale, gradient.dtype)
        if ctx.as_product:
            x_gradient = _input_gradient_as_product(gradient, weight)
        else:
            x = gradient.new_empty(1).expand(ctx.x_shape)  # only its shape counts
            x_gradient = aten.convolution_backward(
                *(gradient, x, weight, None, ctx.stride, ctx.padding),
                *((1, 1), False, (0, 0), 1, (True, False, False)),
            )[0]
        return x_gradient, None, None, None, None, None


def _conv_as_product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """3x3 convolution, padding 1: each position's 9 neighbours in a row, times the weights."""
    batch, _, height, width = x.shape
    padded = functional.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))  # (B, h + 2, w + 2, in)
    windows = padded.unfold(1, 3, 1).unfold(2, 3, 1)  # (B, h, w, in, 3, 3)
    rows = windows.permute(0, 1, 2, 4, 5, 3).reshape(batch * height * width, -1)
    wide = product(rows, _as_columns(weight), bias)
    return wide.view(batch, height, width, -1).permute(0, 3, 1, 2)


def _input_gradient_as_product(gradient: Tensor, weight: Tensor) -> Tensor:
    batch, channels, height, width = gradient.shape
    rows = gradient.permute(0, 2, 3, 1).reshape(-1, channels)
    windows = product(rows, _as_columns(weight).t()).view(batch, height, width, 3, 3, -1)
    padded = windows.new_zeros(batch, height + 2, width + 2, windows.shape[-1])
    for row in range(3):
        for column in range(3):
            part = padded[:, row : row + height, column : column + width]
            part += windows[:, :, :, row, column]
    return padded[:, 1:-1, 1:-1].permute(0, 3, 1, 2)


def _as_columns(weight: Tensor) -> Tensor:
    """(out, in, 3, 3) -> (out, 9 in); a view where the memory format is channels-last."""
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)


def norm_silu(x: Tensor, norm: nn.Module) -> Tensor:
    """SiLU of a group norm, which may be a frozen one: (B, C, h, w) -> the same."""
    if not isinstance(norm, nn.GroupNorm):
        return functional.silu(norm(x))
    return applied(_NormSiLU, x, norm.weight, norm.bias, norm.num_groups, norm.eps)


class _NormSiLU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float
    ) -> Tensor:
        if not _is_channels_last(x):
            x = x.contiguous()
        sizes = (len(x), x.shape[1], x.shape[2:].numel(), groups)
        normed, mean, deviation = aten.native_group_norm(x, weight, bias, *sizes, eps)
        ctx.save_for_backward(x, weight, bias, mean, deviation)
        ctx.sizes, ctx.eps = sizes, eps
        return functional.silu(normed, inplace=True)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, deviation = ctx.saved_tensors
        normed = aten.native_group_norm(x, weight, bias, *ctx.sizes, ctx.eps)[0]
        layout = torch.channels_last if _is_channels_last(x) else torch.contiguous_format
        gradient = aten.silu_backward(gradient, normed).contiguous(memory_format=layout)
        x_gradient = aten.native_group_norm_backward(
            gradient, x, mean, deviation, weight, *ctx.sizes, [True, False, False]
        )[0]
        return x_gradient, None, None, None, None


def _is_channels_last(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.is_contiguous(memory_format=torch.channels_last)
