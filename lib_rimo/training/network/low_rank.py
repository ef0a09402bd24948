"""Frozen linear layers with a low-rank change, that keep little for the backward pass.

PyTorch's own layers keep whatever the gradient of their weights would need, and what is cheap to
compute again, as an activation is, is better computed again than kept. All values are those of the
plain layers, up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional

from lib_rimo.training.network.narrow import widened
from lib_rimo.training.network.products import applied, product

aten = torch.ops.aten


class LowRank(NamedTuple):
    """A frozen linear layer and its low-rank change: x weight^T + bias + scale (x down^T) up^T."""

    weight: Tensor  # (out, in)
    bias: Tensor | None
    down: Tensor  # (dim, in), trained
    up: Tensor  # (out, dim), trained
    scale: float
    weight_scale: Tensor | None = None  # (out, 1), of a weight that is stored narrow

    def prepared(self, dtype: torch.dtype) -> LowRank:
        """The same as products take it: in the weight's type, the scale in `up`.

        A weight that is stored narrow is widened to `dtype`.
        """
        weight = widened(self.weight, self.weight_scale, dtype)
        down, up = self.down.to(weight.dtype), self.up.to(weight.dtype) * self.scale
        return self._replace(weight=weight, down=down, up=up)

    def kept(self, weight: Tensor) -> tuple[Tensor | None, ...]:
        """Prepared: what a backward pass needs, with the `weight` as it is stored."""
        return weight, self.bias, self.down, self.up, self.weight_scale

    def wide(self, rows: Tensor, inner: Tensor) -> Tensor:
        """Prepared: (N, in) and (N, dim), which is rows down^T -> (N, out)."""
        return product(rows, self.weight, self.bias).addmm_(inner, self.up.t())

    def gradients(
        self, gradient: Tensor, rows: Tensor, inner: Tensor, needed: Sequence[bool]
    ) -> tuple[Tensor | None, ...]:
        """Prepared: those of rows, down and up, where needed, from that of the output (N, out)."""
        inner_gradient = product(gradient, self.up.t())  # (N, dim)
        of_rows = of_down = of_up = None
        if needed[0]:
            of_rows = product(gradient, self.weight.t()).addmm_(inner_gradient, self.down)
        if needed[1]:
            of_down = product(inner_gradient.t(), rows.t()).float()
        if needed[2]:
            of_up = product(inner.t(), gradient.t()).t().float() * self.scale
        return of_rows, of_down, of_up


class Norm(NamedTuple):
    """A frozen layer norm, whose results are computed again rather than kept."""

    weight: Tensor | None  # (C,)
    bias: Tensor | None
    eps: float

    def of(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rows (N, C) normed, their means and one over their deviations (N, 1)."""
        normed, mean, deviation = aten.native_layer_norm(rows, rows.shape[-1:], *self)
        return normed, mean, deviation

    def gradient(self, gradient: Tensor, rows: Tensor, *moments: Tensor) -> Tensor:
        """That of the rows, from that of the normed ones (N, C)."""
        arguments = (rows.shape[-1:], *moments, self.weight, self.bias)
        of_rows: Tensor = aten.native_layer_norm_backward(
            gradient, rows, *arguments, (True, False, False)
        )[0]
        return of_rows


def low_rank(x: Tensor, layer: LowRank) -> Tensor:
    """x (..., in) through a frozen layer and its change: (..., out) of the frozen weight's type."""
    return projections(x, None, [layer])[0]


def projections(x: Tensor, norm: Norm | None, layers: Sequence[LowRank]) -> tuple[Tensor, ...]:
    """x (..., in), normed if so, through each of the layers: one (..., out) for each."""
    flat = (argument for layer in layers for argument in layer)
    return cast("tuple[Tensor, ...]", applied(_Projections, x, norm, *flat))


WIDTH = len(LowRank._fields)  # of a layer's arguments


KEPT = 5


def _layers(flat: Sequence[Any], dtype: torch.dtype) -> list[LowRank]:
    """From arguments of an autograd function, which takes no structures, ready for products."""
    return [LowRank(*flat[at : at + WIDTH]).prepared(dtype) for at in range(0, len(flat), WIDTH)]


def _matrices(layers: Sequence[LowRank], flat: Sequence[Any]) -> list[Tensor | None]:
    """What is kept of prepared layers, for `_again`; `flat` has their weights as stored."""
    weights = flat[::WIDTH]
    return [m for layer, weight in zip(layers, weights, strict=True) for m in layer.kept(weight)]


def _again(matrices: Sequence[Any], scale: float, dtype: torch.dtype) -> LowRank:
    """A prepared layer again, in the backward pass."""
    weight, bias, down, up, weight_scale = matrices
    return LowRank(widened(weight, weight_scale, dtype), bias, down, up, scale)


def _frozen(norm: Norm | None) -> tuple[Tensor | None, Tensor | None]:
    """What a backward pass needs of a norm, beside its epsilon."""
    return (None, None) if norm is None else (norm.weight, norm.bias)


def _norm(weight: Tensor | None, bias: Tensor | None, eps: float | None) -> Norm | None:
    """A norm again, in the backward pass."""
    return None if eps is None else Norm(weight, bias, eps)


def _normed(rows: Tensor, norm: Norm | None) -> tuple[Tensor, ...]:
    """Rows as the layers take them, and a norm's moments."""
    return (rows,) if norm is None else norm.of(rows)


class _Projections(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        norm: Norm | None,
        *flat: Any,
    ) -> tuple[Tensor, ...]:
        layers = _layers(flat, x.dtype)
        rows = x.flatten(0, -2).to(layers[0].weight.dtype)  # (N, in)
        normed, *_ = _normed(rows, norm)
        inner = [product(normed, layer.down) for layer in layers]
        ctx.save_for_backward(rows, *_frozen(norm), *inner, *_matrices(layers, flat))
        ctx.norm_eps, ctx.scales = norm and norm.eps, [layer.scale for layer in layers]
        ctx.x_shape, ctx.x_type = x.shape, x.dtype
        return tuple(
            layer.wide(normed, part).view(*x.shape[:-1], -1)
            for layer, part in zip(layers, inner, strict=True)
        )

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, norm_weight, norm_bias, *rest = ctx.saved_tensors
        needs, count = ctx.needs_input_grad, len(gradients)
        inner, matrices = rest[:count], rest[count:]
        norm = _norm(norm_weight, norm_bias, ctx.norm_eps)
        normed, *moments = _normed(rows, norm)
        of_normed: Tensor | None = None
        of_layers: list[Tensor | None] = []
        for index, gradient in enumerate(gradients):
            of_layer = matrices[KEPT * index : KEPT * (index + 1)]
            layer = _again(of_layer, ctx.scales[index], rows.dtype)
            at = 2 + WIDTH * index  # of the layer's arguments, after x and the norm
            part, of_down, of_up = layer.gradients(
                gradient.reshape(-1, gradient.shape[-1]),
                normed,
                inner[index],
                (needs[0], needs[at + 2], needs[at + 3]),
            )
            of_normed = part if of_normed is None or part is None else of_normed.add_(part)
            of_layers += [None, None, of_down, of_up, None, None]
        if norm is not None and of_normed is not None:
            of_normed = norm.gradient(of_normed, rows, *moments)
        return _like(of_normed, ctx), None, *of_layers


def feed_forward(x: Tensor, norm: Norm, first: LowRank, second: LowRank, *, keep: bool) -> Tensor:
    """The gated feed-forward layer: second(geglu(first(norm(x)))), x (..., C) -> (..., C).

    What goes into the gate, eight times as wide as x, is kept or computed again, then for a few
    rows at a time.
    """
    return applied(_FeedForward, x, norm, keep, *first, *second)


FEW_ROWS = 2048
"""As many at a time as keep a GPU busy and what lies between the layers small."""


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        norm: Norm,
        keep: bool,
        *flat: Any,
    ) -> Tensor:
        first, second = layers = _layers(flat, x.dtype)
        all_rows = x.flatten(0, -2).to(first.weight.dtype)  # (N, C)
        ctx.at_once = len(all_rows) if keep else FEW_ROWS
        results = []
        for rows in torch.split(all_rows, ctx.at_once):
            normed, *_ = norm.of(rows)
            wide = first.wide(normed, product(normed, first.down))  # (N, 8 C)
            hidden = _geglu(wide)  # (N, 4 C)
            results.append(second.wide(hidden, product(hidden, second.down)))
        kept = wide if keep else None
        ctx.save_for_backward(all_rows, kept, *norm[:-1], *_matrices(layers, flat))
        ctx.norm_eps, ctx.scales = norm.eps, (first.scale, second.scale)
        ctx.x_shape, ctx.x_type = x.shape, x.dtype
        return torch.cat(results).view(x.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        all_rows, kept, norm_weight, norm_bias, *flat = ctx.saved_tensors
        first = _again(flat[:KEPT], ctx.scales[0], all_rows.dtype)
        second = _again(flat[KEPT:], ctx.scales[1], all_rows.dtype)
        norm = Norm(norm_weight, norm_bias, ctx.norm_eps)
        needs = ctx.needs_input_grad  # x, the norm, keep, the layers' 6 each
        of_rows: list[Tensor] = []
        of_trained: list[list[Tensor | None]] = []
        for rows, gradient_rows in zip(
            torch.split(all_rows, ctx.at_once),
            torch.split(gradient.reshape(-1, gradient.shape[-1]), ctx.at_once),
            strict=True,
        ):
            normed, *moments = norm.of(rows)
            inner = product(normed, first.down)
            wide = first.wide(normed, inner) if kept is None else kept
            hidden = _geglu(wide)
            of_hidden, *of_second = second.gradients(
                gradient_rows, hidden, product(hidden, second.down), (True, needs[11], needs[12])
            )
            assert of_hidden is not None
            of_normed, *of_first = first.gradients(
                _geglu_backward(of_hidden, wide), normed, inner, (needs[0], needs[5], needs[6])
            )
            if of_normed is not None:
                of_rows.append(norm.gradient(of_normed, rows, *moments))
            of_trained.append([*of_first, *of_second])
        sums = [_sum(parts) for parts in zip(*of_trained, strict=True)]
        of_x = _like(torch.cat(of_rows) if of_rows else None, ctx)
        of_layers = (None, None, *sums[:2], *(None,) * 4, *sums[2:], None, None)
        return of_x, None, None, *of_layers


def _sum(parts: Sequence[Tensor | None]) -> Tensor | None:
    """Of a gradient's parts, where it is needed."""
    needed = [part for part in parts if part is not None]
    return sum(needed[1:], needed[0]) if needed else None


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
