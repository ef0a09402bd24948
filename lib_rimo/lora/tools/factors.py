"""Splits a layer's change into the two narrow matrices of a plain LoRA, by singular values.

As kohya's resize_lora.py, svd_merge_lora.py and extract_lora_from_models.py do it: `up` takes the
singular values in, and a rank keeps the largest of them. The last two also cut the largest entries
off; here they stay (docs/kohya.md tells why).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lib_rimo.errors import UserError

_NOTHING = 1e-6
"""A change whose largest singular value is below this keeps one rank, as in kohya's tools."""


@dataclass(frozen=True)
class RankLimit:
    """How many ranks are kept: at most `dim`, and where `error` is given no more than it takes.

    `error` is the largest share of a layer's Frobenius norm that may be lost, from 0 to 1.
    `conv_dim` is the rank of convolutions larger than 1x1; None takes `dim`.
    """

    dim: int | None = None
    conv_dim: int | None = None
    error: float | None = None

    def of(self, values: Tensor, *, is_convolution: bool) -> int:
        """The rank for a layer with these singular values (n,), largest first."""
        dim = self.conv_dim if is_convolution and self.conv_dim is not None else self.dim
        most = len(values) if dim is None else min(dim, len(values))
        if float(values[0]) <= _NOTHING:
            return 1
        if self.error is None:
            return most
        squares = values.double() ** 2
        lost = squares.flip(0).cumsum(0).flip(0)  # (n,): what is lost by keeping 0, 1, ... ranks
        needed = int((lost > self.error**2 * squares.sum()).sum())
        return max(1, min(needed, most))


@dataclass(frozen=True)
class Factors:
    """A change as `up` (out, rank[, 1, 1]) times `down` (rank, in[, kh, kw]), both float32."""

    up: Tensor
    down: Tensor
    kept: float
    """The share of the change's Frobenius norm that is still there."""

    @property
    def rank(self) -> int:
        """The number of ranks."""
        return len(self.down)

    def tensors(self, scale: float = 1.0) -> dict[str, Tensor]:
        """A layer of a kohya file, whose product is multiplied by `scale` (alpha / rank)."""
        return {
            "lora_up.weight": self.up,
            "lora_down.weight": self.down,
            "alpha": torch.tensor(scale * self.rank),
        }


def factorize(change: Tensor, limit: RankLimit) -> Factors:
    """The factors of a change of the shape (out, in[, kh, kw])."""
    up, values, down = _decomposed(change.float().flatten(1))
    return _kept(up, values, down, change.shape, limit)


def factorize_product(up: Tensor, down: Tensor, limit: RankLimit) -> Factors:
    """The factors of `up` (out, rank[, 1, 1]) times `down` (rank, in[, kh, kw]).

    Two narrow decompositions and a square one, in place of that of the whole weight: the same
    singular values in a hundredth of the time.
    """
    left, left_rest = torch.linalg.qr(up.float().flatten(1))
    right, right_rest = torch.linalg.qr(down.float().flatten(1).T)
    inner_up, values, inner_down = _decomposed(left_rest @ right_rest.T)
    shape = (len(up), *down.shape[1:])
    return _kept(left @ inner_up, values, inner_down @ right.T, shape, limit)


def _decomposed(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Left vectors, singular values and right ones; UserError where the numbers are too large."""
    try:
        return torch.linalg.svd(matrix, full_matrices=False)  # type: ignore[no-any-return]
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        raise UserError("A layer's numbers are too large to be factored: train it again.") from None


def _kept(
    up: Tensor, values: Tensor, down: Tensor, shape: tuple[int, ...], limit: RankLimit
) -> Factors:
    """The largest ranks of `up` (out, n), `values` (n,), `down` (n, in * kh * kw)."""
    rank = limit.of(values, is_convolution=shape[2:] > (1, 1))
    whole = float(values.double().norm())
    kept = 1.0 if whole == 0 else float(values[:rank].double().norm()) / whole
    return Factors(
        (up[:, :rank] * values[:rank]).reshape(-1, rank, *[1] * len(shape[2:])),
        down[:rank].reshape(rank, *shape[1:]),
        kept,
    )
