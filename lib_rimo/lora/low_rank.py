"""Frozen linear layers with a low-rank change, that keep little for the backward pass.

PyTorch's own layers keep whatever the gradient of their weights would need, and what is cheap to
compute again, as an activation is, is better computed again than kept. All values are those of the
plain layers, up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from lib_rimo.lora.products import applied, product

aten = torch.ops.aten


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
    return applied(_LowRank, x, *layer)


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
    return applied(_FeedForward, x, *first, *second, keep)


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
        gradient = gradient.reshape(-1, gradient.shape[-1])  # (N, C)
        of_hidden, of_second_down, of_second_up = second.gradients(
            gradient, _geglu(wide), second_inner, (True, needs[8], needs[9])
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
    return applied(_GEGLU, x)


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
