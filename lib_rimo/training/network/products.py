"""What lean layers compute with: products by the library that is fast on this processor."""

from __future__ import annotations

import platform
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

MUCH_WORK = 1_000_000
"""Multiply-adds of a product from which on it matters which library computes it."""


@lru_cache
def _is_amd() -> bool:
    """Whether the processor is AMD's, for which MKL, PyTorch's own choice, has no fast code."""
    try:
        return "AuthenticAMD" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return "AuthenticAMD" in platform.processor()  # on Windows


def product(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """rows weight^T + bias: (N, in) and (out, in) -> (N, out).

    In float32 on an AMD processor by oneDNN, which takes two thirds of MKL's time there, and
    a fifth where one side is as narrow as a LoRA's.
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


def applied(function: type[torch.autograd.Function], *arguments: Any) -> Tensor:
    """What a function of PyTorch's autograd gives, which knows no types."""
    return cast(Tensor, cast(Any, function).apply(*arguments))
