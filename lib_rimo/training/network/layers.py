"""Layers that carry a trainable change beside their frozen weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib_rimo.sd.family import TIMESTEPS
from lib_rimo.training.network.low_rank import LowRank, low_rank
from lib_rimo.training.network.narrow import scale_of


@dataclass(frozen=True)
class Form:
    """What all layers of a network have alike; names and meanings are kohya's and LyCORIS'."""

    network_type: str = "lora"
    network_dropout: float = 0.0
    rank_dropout: float = 0.0
    module_dropout: float = 0.0
    factor: int = -1
    decompose_both: bool = False
    use_tucker: bool = False
    use_scalar: bool = False
    rank_dropout_scale: bool = False
    dora_wd: bool = False
    rs_lora: bool = False
    constraint: float = 0.0
    rescaled: bool = False
    train_norm: bool = False
    tlora_min_rank: int | None = None
    tlora_alpha_rank_scale: float = 1.0

    @property
    def is_random(self) -> bool:
        """Whether anything is dropped while training."""
        return bool(self.network_dropout or self.rank_dropout or self.module_dropout)

    @property
    def is_own(self) -> bool:
        """Whether the layers are ours, which take half precision as it is, and not LyCORIS'."""
        return self.network_type == "lora" and not self.use_scalar


PLAIN = Form()


class TimestepRanks:
    """Which ranks learn from which noise, the same in all layers of a UNet.

    Of T-LoRA (arXiv:2507.05964): what is learned from much noise, places and poses, is what few
    pictures overfit first. When drawing all ranks act, so that the file is a plain LoRA's.
    """

    def __init__(self, least: int, power: float) -> None:
        self.least, self.power = least, power
        self._signal = torch.ones(1)  # (B,) 0..1, nothing for pure noise
        self._kept: dict[int, Tensor] = {}

    def follow(self, timesteps: Tensor) -> None:
        """From now on, the backward pass included, ranks are those of these timesteps (B,)."""
        self._signal = 1 - timesteps.float() / TIMESTEPS
        self._kept = {}

    def kept(self, dim: int) -> Tensor:
        """(B, dim) of ones and zeros."""
        if dim not in self._kept:
            least = min(self.least, dim)
            count = least + (self._signal**self.power * (dim - least)).floor()
            numbers = torch.arange(dim, device=count.device)
            self._kept[dim] = (numbers < count[:, None]).float()
        return self._kept[dim]


class LoRA(nn.Module):
    """Low-rank change of a linear layer or a convolution: up(down(x)) * alpha / dim.

    Its state dict holds the tensors of a kohya file: `lora_down.weight` (dim, in[, kh, kw]),
    `lora_up.weight` (out, dim[, 1, 1]) and `alpha`, a scalar. Starts as no change at all: up is 0.
    """

    alpha: Tensor

    def __init__(
        self, frozen: nn.Linear | nn.Conv2d, dim: int, alpha: float, form: Form = PLAIN
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
        self.form = form
        self.ranks: TimestepRanks | None = None
        self.dropout = nn.Dropout(form.network_dropout) if form.network_dropout else nn.Identity()
        self.scale = alpha / dim
        self.register_buffer("alpha", torch.tensor(float(alpha)))

    def forward(self, x: Tensor) -> Tensor:
        """The change for the input x (..., in) or (B, in, H, W)."""
        if self._is_dropped():
            return x.new_zeros(())
        inner = self._without_ranks(self.dropout(_in_type_of(x, self.lora_down)))
        return _in_type_of(inner, self.lora_up) * self.scale

    def _is_dropped(self) -> bool:
        """Whether module_dropout leaves this layer out this time."""
        most = self.form.module_dropout
        return self.training and most > 0 and torch.rand(1).item() < most

    def _without_ranks(self, inner: Tensor) -> Tensor:
        """The inner values (B, ..., dim) or (B, dim, h, w) with ranks left out, picture by picture.

        By rank_dropout those that are left count as much more.
        """
        share, dim = self.form.rank_dropout, len(self.lora_down.weight)
        if self.training and self.ranks is not None:
            inner = inner * self._shaped(self.ranks.kept(dim).to(inner.dtype), inner)
        if self.training and share:
            kept = torch.rand(len(inner), dim, device=inner.device) > share
            inner = inner * self._shaped(kept, inner) / (1 - share)
        return inner

    def _shaped(self, kept: Tensor, inner: Tensor) -> Tensor:
        """A picture's ranks (B, dim) as they are multiplied with its inner values."""
        if isinstance(self.lora_down, nn.Conv2d):
            return kept[:, :, None, None]
        return kept.view(len(kept), *(1,) * (inner.dim() - 2), -1)


def _in_type_of(x: Tensor, layer: nn.Linear | nn.Conv2d) -> Tensor:
    """A layer's output in its input's type; trained weights are float32, inputs may be half."""
    weight = layer.weight.to(x.dtype)
    if isinstance(layer, nn.Linear):
        return functional.linear(x, weight)
    return functional.conv2d(x, weight, None, layer.stride, layer.padding)


class LoRALayer(nn.Module):
    """A frozen layer with a LoRA beside it."""

    def __init__(self, frozen: nn.Linear | nn.Conv2d, adapter: LoRA) -> None:
        super().__init__()
        self.frozen = frozen
        self.adapter = adapter

    def forward(self, x: Tensor) -> Tensor:
        """Both layers' outputs, added."""
        layer = self.low_rank()
        if layer is None:
            sum_of_both: Tensor = self.frozen(x) + self.adapter(x)
            return sum_of_both
        if isinstance(self.frozen, nn.Linear):
            return low_rank(x, layer)
        return low_rank(x.permute(0, 2, 3, 1), layer).permute(0, 3, 1, 2)

    def low_rank(self) -> LowRank | None:
        """Both as one, where they are products of each position's values with a matrix."""
        adapter, frozen = self.adapter, self.frozen
        pointwise = isinstance(frozen, nn.Linear) or set(frozen.kernel_size + frozen.stride) == {1}
        if not pointwise or adapter.form.is_random or adapter.ranks is not None:
            return None
        down, up = adapter.lora_down.weight.flatten(1), adapter.lora_up.weight.flatten(1)
        weight, scale = frozen.weight.flatten(1), scale_of(frozen)
        weight_scale = None if scale is None else scale.flatten(1)
        return LowRank(weight, frozen.bias, down, up, adapter.scale, weight_scale)


class NormChange(nn.Module):
    """What is added to a norm's weight and bias, under LyCORIS' names in files."""

    def __init__(self, frozen: nn.GroupNorm | nn.LayerNorm) -> None:
        super().__init__()
        self.w_norm = nn.Parameter(torch.zeros_like(frozen.weight, dtype=torch.float32))
        self.b_norm = nn.Parameter(torch.zeros_like(frozen.bias, dtype=torch.float32))


class NormLayer(nn.Module):
    """A frozen norm with trainable changes of its weight and bias."""

    def __init__(self, frozen: nn.GroupNorm | nn.LayerNorm, adapter: NormChange) -> None:
        super().__init__()
        self.frozen = frozen
        self.adapter = adapter

    def forward(self, x: Tensor) -> Tensor:
        """The norm of x, with the changed weight and bias."""
        frozen = self.frozen
        weight = (frozen.weight + self.adapter.w_norm).to(x.dtype)
        bias = (frozen.bias + self.adapter.b_norm).to(x.dtype)
        if isinstance(frozen, nn.GroupNorm):
            # Scaled by hand: for a trained weight PyTorch 2.13 crashes going back through a
            # channels-last picture on a CPU.
            normed = functional.group_norm(x, frozen.num_groups, None, None, frozen.eps)
            return normed * weight[:, None, None] + bias[:, None, None]
        return functional.layer_norm(x, frozen.normalized_shape, weight, bias, frozen.eps)
