"""Layers for training through a frozen model, that compute little and keep little.

PyTorch's own layers keep whatever the gradient of their weights would need. A frozen layer has no
such gradient: for the one of its input it needs its weight alone. And what is cheap to compute
again - a norm, an activation - is better computed again than kept. All values are those of the
plain layers, up to rounding.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

aten = torch.ops.aten
MUCH_WORK = 16_000_000
"""Multiply-adds of a product from which on it matters which library computes it."""
FEW_POSITIONS = 320
"""Of a map of no more positions, a 3x3 convolution on a CPU runs as one matrix product: there
oneDNN's convolution spends most of its time reordering the weights, at every call."""


@lru_cache
def _is_amd() -> bool:
    """Whether the processor is AMD's, for which MKL, PyTorch's own choice, has no fast code."""
    try:
        return "AuthenticAMD" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return "AuthenticAMD" in platform.processor()  # on Windows


def product(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """rows weight^T + bias: (N, in) and (out, in) -> (N, out).

    In float32 on an AMD processor by oneDNN, which takes two thirds of MKL's time there.
    """
    if (
        rows.device.type == "cpu"
        and rows.dtype == torch.float32
        and len(rows) * weight.numel() > MUCH_WORK
        and _is_amd()
        and torch._C._has_mkldnn
    ):
        wide: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
        return wide
    return rows @ weight.t() if bias is None else torch.addmm(bias, rows, weight.t())


def _applied(function: type[torch.autograd.Function], *arguments: Any) -> Tensor:
    return cast(Tensor, cast(Any, function).apply(*arguments))


class LowRank(NamedTuple):
    """A frozen linear layer and its low-rank change: x weight^T + bias + scale (x down^T) up^T."""

    weight: Tensor  # (out, in)
    bias: Tensor | None
    down: Tensor  # (dim, in), trained
    up: Tensor  # (out, dim), trained
    scale: float

    def prepared(self) -> LowRank:
        """The same as products take it: in the weight's type, the scale in `up`."""
        down, up = self.down.to(self.weight.dtype), self.up.to(self.weight.dtype) * self.scale
        return self._replace(down=down, up=up)

    def wide(self, rows: Tensor, inner: Tensor) -> Tensor:
        """Prepared: (N, in) and (N, dim), which is rows down^T -> (N, out)."""
        return product(rows, self.weight, self.bias).addmm_(inner, self.up.t())

    def gradients(
        self, gradient: Tensor, rows: Tensor, inner: Tensor, needed: Sequence[bool]
    ) -> tuple[Tensor | None, ...]:
        """Prepared: those of rows, down and up, where needed, from that of the output (N, out)."""
        inner_gradient = gradient @ self.up  # (N, dim)
        of_rows = of_down = of_up = None
        if needed[0]:
            of_rows = product(gradient, self.weight.t()).addmm_(inner_gradient, self.down)
        if needed[1]:
            of_down = (inner_gradient.t() @ rows).float()
        if needed[2]:
            of_up = (inner.t() @ gradient).t().float() * self.scale
        return of_rows, of_down, of_up


def low_rank(x: Tensor, layer: LowRank) -> Tensor:
    """x (..., in) through a frozen layer and its change: (..., out) of the frozen weight's type."""
    return _applied(_LowRank, x, *layer)


class _LowRank(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *layer: Any) -> Tensor:
        ready = LowRank(*layer).prepared()
        rows = x.flatten(0, -2).to(ready.weight.dtype)  # (N, in)
        inner = rows @ ready.down.t()
        ctx.save_for_backward(rows, inner, *ready[:-1])
        ctx.scale, ctx.x_shape, ctx.x_type = ready.scale, x.shape, x.dtype
        return ready.wide(rows, inner).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, inner, *layer = ctx.saved_tensors
        needs = ctx.needs_input_grad
        of_rows, of_down, of_up = LowRank._make([*layer, ctx.scale]).gradients(
            gradient.reshape(-1, gradient.shape[-1]), rows, inner, (needs[0], needs[3], needs[4])
        )
        return _like(of_rows, ctx), None, None, of_down, of_up, None


def feed_forward(x: Tensor, first: LowRank, second: LowRank, *, keep: bool) -> Tensor:
    """The gated feed-forward layer: second(geglu(first(x))), x (..., C) -> (..., C).

    What goes into the gate, eight times as wide as x, is kept or computed again.
    """
    return _applied(_FeedForward, x, *first, *second, keep)


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *arguments: Any) -> Tensor:
        first, second = LowRank(*arguments[:5]).prepared(), LowRank(*arguments[5:10]).prepared()
        rows = x.flatten(0, -2).to(first.weight.dtype)  # (N, C)
        inner = rows @ first.down.t()
        wide = first.wide(rows, inner)  # (N, 8 C)
        hidden = _geglu(wide)  # (N, 4 C)
        second_inner = hidden @ second.down.t()
        kept = wide if arguments[-1] else None
        ctx.save_for_backward(rows, inner, second_inner, kept, *first[:-1], *second[:-1])
        ctx.scales, ctx.x_shape, ctx.x_type = (first.scale, second.scale), x.shape, x.dtype
        return second.wide(hidden, second_inner).view(x.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, inner, second_inner, wide, *layers = ctx.saved_tensors
        first = LowRank._make([*layers[:4], ctx.scales[0]])
        second = LowRank._make([*layers[4:], ctx.scales[1]])
        needs = ctx.needs_input_grad
        if wide is None:
            wide = first.wide(rows, inner)
        of_hidden, of_second_down, of_second_up = second.gradients(
            gradient.reshape(-1, gradient.shape[-1]),
            *(_geglu(wide), second_inner, (True, needs[8], needs[9])),
        )
        assert of_hidden is not None
        of_rows, of_down, of_up = first.gradients(
            _geglu_backward(of_hidden, wide), rows, inner, (needs[0], needs[3], needs[4])
        )
        of_second = None, None, of_second_down, of_second_up, None
        return _like(of_rows, ctx), None, None, of_down, of_up, None, *of_second, None


def _like(of_rows: Tensor | None, ctx: Any) -> Tensor | None:
    """The gradient of a function's rows as that of its input."""
    return None if of_rows is None else of_rows.to(ctx.x_type).view(ctx.x_shape)


def geglu(x: Tensor) -> Tensor:
    """The first half of x (..., 2 C) times the GELU of the second half: (..., C)."""
    return _applied(_GEGLU, x)


class _GEGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return _geglu(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _geglu_backward(gradient, *ctx.saved_tensors)


def _geglu(x: Tensor) -> Tensor:
    values, gates = x.chunk(2, dim=-1)
    return functional.gelu(gates).mul_(values)


def _geglu_backward(gradient: Tensor, x: Tensor) -> Tensor:
    values, gates = x.chunk(2, dim=-1)
    x_gradient = torch.empty_like(x)
    of_values, of_gates = x_gradient.chunk(2, dim=-1)
    torch.mul(functional.gelu(gates), gradient, out=of_values)
    aten.gelu_backward.grad_input(gradient * values, gates, grad_input=of_gates)
    return x_gradient


class FrozenConv2d(nn.Conv2d):
    """A convolution whose weights are never trained."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, h, w) -> (B, out, h', w')."""
        return _applied(_FrozenConv, x, self.weight, self.bias, self.stride, self.padding)


class _FrozenConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, int],
        padding: tuple[int, int],
    ) -> Tensor:
        x = x.to(weight.dtype)
        ctx.save_for_backward(weight)
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
        (weight,) = ctx.saved_tensors
        if ctx.as_product:
            x_gradient = _input_gradient_as_product(gradient, weight)
        else:
            x = gradient.new_empty(1).expand(ctx.x_shape)  # only its shape counts
            x_gradient = aten.convolution_backward(
                *(gradient, x, weight, None, ctx.stride, ctx.padding),
                *((1, 1), False, (0, 0), 1, (True, False, False)),
            )[0]
        return x_gradient, None, None, None, None


def _conv_as_product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """3x3 convolution, padding 1: each position's 9 neighbours in a row, times the weights."""
    batch, _, height, width = x.shape
    padded = functional.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))  # (B, h + 2, w + 2, in)
    windows = padded.unfold(1, 3, 1).unfold(2, 3, 1)  # (B, h, w, in, 3, 3)
    rows = windows.permute(0, 1, 2, 4, 5, 3).reshape(batch * height * width, -1)
    return (
        product(rows, _as_columns(weight), bias).view(batch, height, width, -1).permute(0, 3, 1, 2)
    )


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


def norm_silu(x: Tensor, norm: nn.GroupNorm) -> Tensor:
    """SiLU of a frozen group norm: (B, C, h, w) -> the same."""
    return _applied(_NormSiLU, x, norm.weight, norm.bias, norm.num_groups, norm.eps)


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
