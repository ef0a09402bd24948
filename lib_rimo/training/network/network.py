"""All trainable layers of one LoRA: attached to a model, sorted by key, read and written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lib_rimo.errors import UserError
from lib_rimo.lora.blocks import block_of_key
from lib_rimo.lora.keys import trained_layers, trained_norms
from lib_rimo.training.network.layers import (
    PLAIN,
    Form,
    LoRALayer,
    NormChange,
    NormLayer,
    TimestepRanks,
)
from lib_rimo.training.network.lycoris import AdaptedLayer, adapt, load_values, trains
from lib_rimo.training.network.norms import limit_norm


@dataclass(frozen=True)
class Rank:
    """Rank and alpha of the layers of one block; dim 0 leaves a layer alone, alpha 0 is the dim."""

    dim: int
    alpha: float
    conv_dim: int = 0
    conv_alpha: float = 1.0

    def of(self, layer: nn.Linear | nn.Conv2d) -> tuple[int, float]:
        """(dim, alpha) for a layer: 3x3 convolutions have their own."""
        if isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1):
            return self.conv_dim, self.conv_alpha or self.conv_dim
        return self.dim, self.alpha or self.dim


class Network(nn.Module):
    """The trainable layers of a LoRA over a UNet and its text encoders.

    Attaching puts each adapted layer in the place of the model's own; `detach` undoes it. What is
    trained is what kohya's trainer trains: linear layers and 1x1 convolutions of the attention
    blocks, with `conv_dim` also the residual blocks, down- and upsamplers, and the attention and
    MLP layers of the text encoders.
    """

    def __init__(
        self,
        family: str,
        unet: nn.Module | None,
        text_encoders: Sequence[nn.Module],
        rank_of: Callable[[str], Rank],
        *,
        form: Form = PLAIN,
    ) -> None:
        super().__init__()
        self.family = family
        # LyCORIS' modules need autocast where the model is in half precision.
        self.casts_itself = form.is_own
        self.ranks = ranks_of(form)
        self.layers: dict[str, AdaptedLayer] = {}
        self._places: list[tuple[nn.Module, str, nn.Module]] = []
        for key, parent, name, residual in list(trained_layers(family, unet, text_encoders)):
            frozen = parent.get_submodule(name)
            assert isinstance(frozen, (nn.Linear, nn.Conv2d))
            rank = rank_of(self.block_of(key))
            dim, alpha = rank.of(frozen)
            if dim == 0 or (residual and rank.conv_dim == 0) or not trains(form, key):
                continue
            layer = adapt(frozen, form=form, key=key, dim=dim, alpha=alpha)
            layer.adapter.to(frozen.weight.device)
            if isinstance(layer, LoRALayer) and self.block_of(key) != "BASE":
                layer.adapter.ranks = self.ranks
            self._put(key, layer, parent, name)
        if form.train_norm and unet is not None:
            for key, parent, name, residual in list(trained_norms(family, unet)):
                rank = rank_of(self.block_of(key))
                if rank.dim and (rank.conv_dim or not residual):
                    norm = parent.get_submodule(name)
                    assert isinstance(norm, (nn.GroupNorm, nn.LayerNorm))
                    change = NormChange(norm).to(norm.weight.device)
                    self._put(key, NormLayer(norm, change), parent, name)
        if not self.layers:
            raise UserError("No layer is left to train: give some block a dim above 0.")
        self.adapters = nn.ModuleDict({key: layer.adapter for key, layer in self.layers.items()})

    def _put(self, key: str, layer: AdaptedLayer, parent: nn.Module, name: str) -> None:
        self.layers[key] = layer
        self._places.append((parent, name, layer.frozen))
        setattr(parent, name, layer)

    def block_of(self, key: str) -> str:
        """The block that a layer belongs to, BASE for text encoders."""
        block = block_of_key(key, self.family)
        assert block is not None, key
        return block

    def detach(self) -> None:
        """Put the model's own layers back."""
        for parent, name, frozen in self._places:
            setattr(parent, name, frozen)
        self._places.clear()

    @contextmanager
    def off(self) -> Iterator[None]:
        """Within it the model computes as if it had no LoRA: its own layers are in their places."""
        for parent, name, frozen in self._places:
            setattr(parent, name, frozen)
        try:
            yield
        finally:
            for (parent, name, _), layer in zip(self._places, self.layers.values(), strict=True):
                setattr(parent, name, layer)

    def parameter_groups(
        self, rate_of: Callable[[str], float], up_ratio_of: Callable[[str], float] = lambda key: 1.0
    ) -> list[dict[str, Any]]:
        """The optimizer's groups: parameters by learning rate; rate 0 is not trained at all.

        `rate_of` maps a layer's key to its learning rate, `up_ratio_of` to how many times that
        its second matrix learns with, as LoRA+ has it (arXiv:2402.12354).
        """
        by_rate: dict[float, list[nn.Parameter]] = {}
        for key, layer in self.layers.items():
            if rate := rate_of(key):
                for name, parameter in layer.adapter.named_parameters():
                    ratio = up_ratio_of(key) if "lora_up" in name else 1.0
                    by_rate.setdefault(rate * ratio, []).append(parameter)
            else:
                layer.adapter.requires_grad_(False)
        return [{"params": parameters, "lr": rate} for rate, parameters in by_rate.items()]

    def limit_norms(self, most: float) -> None:
        """Shorten every layer's change that is longer than this."""
        for layer in self.layers.values():
            if not isinstance(layer, NormLayer):
                limit_norm(layer.adapter, most)

    def tensors(self, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        """The tensors of a kohya file, copied to the CPU, floats in `dtype`."""
        return {
            f"{key}.{name}": _copied(tensor.detach(), dtype)
            for key, layer in self.layers.items()
            for name, tensor in layer.adapter.state_dict().items()
        }

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over a file's values; raises UserError where its layers or ranks are others."""
        own = {
            f"{key}.{name}": tensor
            for key, layer in self.layers.items()
            for name, tensor in layer.adapter.state_dict().items()
        }
        odd = sorted(
            name
            for name in own.keys() | tensors.keys()
            if name not in own or name not in tensors or own[name].shape != tensors[name].shape
        )
        if odd:
            raise UserError(
                "The LoRA to go on from has other layers or ranks ({n} differ, the first is "
                "{key}): use the network options that it was trained with.",
                n=len(odd),
                key=odd[0],
            )
        for name, tensor in own.items():
            if name.endswith(".alpha") and float(tensor) != float(tensors[name]):
                raise UserError(
                    "The LoRA to go on from has alpha {value} in {name} where the options say "
                    "{expected}: give the alphas that it was trained with.",
                    value=f"{float(tensors[name]):g}",
                    name=name,
                    expected=f"{float(tensor):g}",
                )
        for key, layer in self.layers.items():
            names = layer.adapter.state_dict()
            load_values(layer.adapter, {name: tensors[f"{key}.{name}"] for name in names})


def _copied(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    is_number = tensor.is_floating_point()
    return tensor.to("cpu", dtype if is_number else None, copy=True).contiguous()


class Parameters:
    """A network's state to go on from: what is trained, as it is.

    LyCORIS' own state is that of files, in which some of it is multiplied.
    """

    def __init__(self, network: Network) -> None:
        self.network = network

    def state_dict(self) -> dict[str, Tensor]:
        """Every parameter by its name."""
        return {name: tensor.detach() for name, tensor in self.network.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take the values over; a state may hold more, as older ones do."""
        with torch.no_grad():
            for name, tensor in self.network.named_parameters():
                tensor.copy_(state[name])


def ranks_of(form: Form) -> TimestepRanks | None:
    """What lets ranks depend on the timestep, where that is asked for."""
    if form.tlora_min_rank is None:
        return None
    return TimestepRanks(form.tlora_min_rank, form.tlora_alpha_rank_scale)
