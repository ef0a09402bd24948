"""kohya's `scale_weight_norms`: no layer's change may be longer than so much."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from lib_rimo.training.network.layers import LoRA

# Of LyCORIS' modules a factor that the change grows with, as it is.
_FACTORS = ("lokr_w1", "lokr_w1_a", "hada_w1_a", "lora_up")


@torch.no_grad()
def limit_norm(adapter: nn.Module, most: float) -> None:
    """Shorten a layer's change to a norm of `most` where it is longer.

    As in kohya's trainer and LyCORIS; of a LoRA both matrices get the same share of it.
    """
    norm = _norm(adapter).clamp(min=most / 2)
    if norm <= most:
        return
    ratio = most / norm
    if isinstance(adapter, LoRA):
        adapter.lora_up.weight *= ratio.sqrt()
        adapter.lora_down.weight *= ratio.sqrt()
        return
    factor = next(getattr(adapter, name) for name in _FACTORS if hasattr(adapter, name))
    weight = factor if isinstance(factor, nn.Parameter) else factor.weight
    weight *= ratio


def _norm(adapter: nn.Module) -> Tensor:
    """The Frobenius norm of a layer's change with its scale."""
    if isinstance(adapter, LoRA):
        # |up down|^2 is the trace of (up^T up)(down down^T): (dim, dim) each.
        up, down = adapter.lora_up.weight.flatten(1), adapter.lora_down.weight.flatten(1)
        square = ((up.t() @ up) * (down @ down.t())).sum()
        return square.clamp(min=0).sqrt() * adapter.scale
    lycoris: Any = adapter
    if hasattr(lycoris, "make_weight"):
        weight = lycoris.make_weight() * lycoris.scale
    else:
        weight = lycoris.get_weight(lycoris.shape)
    return cast(Tensor, weight.norm())
