"""Layers that carry a trainable change beside their frozen weights."""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from lib_rimo.lora.lean import geglu, low_rank


class LoRA(nn.Module):
    """Low-rank change of a linear layer or a convolution: up(down(x)) * alpha / dim.

    Its state dict holds the tensors of a kohya file: `lora_down.weight` (dim, in[, kh, kw]),
    `lora_up.weight` (out, dim[, 1, 1]) and `alpha`, a scalar. Starts as no change at all: up is 0.
    """

    alpha: Tensor

    def __init__(
        self, frozen: nn.Linear | nn.Conv2d, dim: int, alpha: float, dropout: float = 0.0
    ) -> None:
        super().__init__()
        down: nn.Linear | nn.Conv2d
        up: nn.Linear | nn.Conv2d
        if isinstance(frozen, nn.Conv2d):
            down = nn.Conv2d(
                frozen.in_channels,
                dim,
                frozen.kernel_size,  # type: ignore[arg-type]
                frozen.stride,  # type: ignore[arg-type]
                frozen.padding,  # type: ignore[arg-type]
                bias=False,
            )
            up = nn.Conv2d(dim, frozen.out_channels, 1, bias=False)
        else:
            down = nn.Linear(frozen.in_features, dim, bias=False)
            up = nn.Linear(dim, frozen.out_features, bias=False)
        nn.init.kaiming_uniform_(down.weight, a=math.sqrt(5))
        nn.init.zeros_(up.weight)
        self.lora_down = down
        self.lora_up = up
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.scale = alpha / dim
        self.register_buffer("alpha", torch.tensor(float(alpha)))

    def forward(self, x: Tensor) -> Tensor:
        """The change for the input x (..., in) or (B, in, H, W)."""
        change: Tensor = self.lora_up(self.dropout(self.lora_down(x))) * self.scale
        return change


class LoRALayer(nn.Module):
    """A frozen layer with a LoRA beside it."""

    def __init__(self, frozen: nn.Linear | nn.Conv2d, adapter: LoRA) -> None:
        super().__init__()
        self.frozen = frozen
        self.adapter = adapter

    def forward(self, x: Tensor, *, gated: bool = False) -> Tensor:
        """Both layers' outputs, added; if `gated` for the `geglu` of x."""
        adapter, frozen = self.adapter, self.frozen
        pointwise = isinstance(frozen, nn.Linear) or set(frozen.kernel_size + frozen.stride) == {1}
        if pointwise and isinstance(adapter.dropout, nn.Identity):
            down, up = adapter.lora_down.weight.flatten(1), adapter.lora_up.weight.flatten(1)
            weight, bias = frozen.weight.flatten(1), frozen.bias
            if isinstance(frozen, nn.Linear):
                return low_rank(x, weight, bias, down, up, adapter.scale, gated=gated)
            channels_last = x.permute(0, 2, 3, 1)
            output = low_rank(channels_last, weight, bias, down, up, adapter.scale)
            return output.permute(0, 3, 1, 2)
        if gated:
            x = geglu(x)
        sum_of_both: Tensor = frozen(x) + adapter(x)
        return sum_of_both


class LyCORISLayer(nn.Module):
    """A frozen layer under one of LyCORIS' modules, which computes with the changed weight."""

    def __init__(self, frozen: nn.Linear | nn.Conv2d, adapter: nn.Module) -> None:
        super().__init__()
        self.frozen = frozen
        self.adapter = adapter

    def forward(self, x: Tensor) -> Tensor:
        """The output of the layer with its changed weight."""
        output: Tensor = self.adapter(x)
        return output


AdaptedLayer = LoRALayer | LyCORISLayer


def adapt(
    frozen: nn.Linear | nn.Conv2d,
    *,
    network_type: str,
    key: str,
    dim: int,
    alpha: float,
    dropout: float = 0.0,
) -> AdaptedLayer:
    """Make the trainable layer of this type over a frozen one."""
    if network_type == "lora":
        return LoRALayer(frozen, LoRA(frozen, dim, alpha, dropout))
    module = _lycoris_module(network_type)(
        key, frozen, lora_dim=dim, alpha=alpha, dropout=dropout, **_LYCORIS_ARGUMENTS[network_type]
    )
    return LyCORISLayer(frozen, module)


# DoRA's magnitudes per input channel: the form that the WebUI's own network code reads.
_LYCORIS_ARGUMENTS: dict[str, dict[str, Any]] = {
    "loha": {},
    "lokr": {},
    "dora": {"weight_decompose": True, "wd_on_out": False},
}


def _lycoris_module(network_type: str) -> Any:
    with warnings.catch_warnings():  # its import warns about optional accelerators
        warnings.simplefilter("ignore")
        from lycoris import modules

    return {
        "loha": modules.LohaModule,
        "lokr": modules.LokrModule,
        "dora": modules.LoConModule,
    }[network_type]
