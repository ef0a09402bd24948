"""LyCORIS' modules over frozen layers, and which layers each of its algorithms trains."""

from __future__ import annotations

import re
import warnings
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lib_rimo.training.network.layers import Form, LoRA, LoRALayer, NormLayer

# LyCORIS' preset ia3, which its authors ask for with that algorithm: key -> scales the input.
_IA3 = {
    r"_(to_k|to_v|k_proj|v_proj)$": False,
    r"_(ff_net_2|mlp_fc2)$": True,
}


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


AdaptedLayer = LoRALayer | LyCORISLayer | NormLayer


def trains(form: Form, key: str) -> bool:
    """Whether a network of this form trains the layer of this key: of IA3 only some are."""
    return form.network_type != "ia3" or _ia3_side(key) is not None


def adapt(
    frozen: nn.Linear | nn.Conv2d,
    *,
    form: Form,
    key: str,
    dim: int,
    alpha: float,
) -> AdaptedLayer:
    """Make the trainable layer of this type over a frozen one."""
    if form.rs_lora:  # so that the change counts alpha / sqrt(dim), for whoever reads the file too
        alpha *= dim**0.5
    if form.is_own:
        return LoRALayer(frozen, LoRA(frozen, dim, alpha, form))
    module = _lycoris_module(form.network_type)(
        key,
        frozen,
        lora_dim=dim,
        alpha=alpha,
        dropout=form.network_dropout,
        rank_dropout=form.rank_dropout,
        module_dropout=form.module_dropout,
        use_tucker=form.use_tucker,
        use_scalar=form.use_scalar,
        rank_dropout_scale=form.rank_dropout_scale,
        **_own_arguments(form, key),
    )
    if form.network_type == "full":
        # It takes its weight for the whole layer's unless it has put itself into the layer.
        module.custom_state_dict = partial(_differences, module)
    return LyCORISLayer(frozen, module)


def load_values(adapter: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Give a module that is as it was made the values of a file."""
    if not hasattr(adapter, "custom_state_dict"):
        with torch.no_grad():
            for name, tensor in adapter.state_dict().items():
                tensor.copy_(tensors[name])
        return
    adapter.load_state_dict(tensors, strict=False)  # a scalar is in the file's other tensors


def _own_arguments(form: Form, key: str) -> dict[str, Any]:
    """What only one of LyCORIS' modules takes."""
    # Magnitudes per input channel: the form that the WebUI's own network code reads.
    decomposed = {"weight_decompose": True, "wd_on_out": False}
    if form.network_type == "dora":
        return decomposed
    if form.network_type == "lokr":
        factors = {"factor": form.factor, "decompose_both": form.decompose_both}
        return factors | (decomposed if form.dora_wd else {})
    if form.network_type == "loha" and form.dora_wd:
        return decomposed
    if form.network_type == "ia3":
        return {"train_on_input": _ia3_side(key)}
    if form.network_type in ("diag-oft", "boft"):
        return {"constraint": form.constraint, "rescaled": form.rescaled}
    return {}


def _ia3_side(key: str) -> bool | None:
    """Whether a layer's input is scaled, not its output; none where it is left alone."""
    return next((side for pattern, side in _IA3.items() if re.search(pattern, key)), None)


def _differences(module: Any) -> dict[str, Tensor]:
    differences = {"diff": module.weight, "diff_b": module.bias}
    return {name: tensor for name, tensor in differences.items() if tensor is not None}


def _lycoris_module(network_type: str) -> Any:
    with warnings.catch_warnings():  # its import warns about optional accelerators
        warnings.simplefilter("ignore")
        from lycoris import modules

    return {
        "lora": modules.LoConModule,
        "loha": modules.LohaModule,
        "lokr": modules.LokrModule,
        "dora": modules.LoConModule,
        "ia3": modules.IA3Module,
        "full": modules.FullModule,
        "glora": modules.GLoRAModule,
        "diag-oft": modules.DiagOFTModule,
        "boft": modules.ButterflyOFTModule,
    }[network_type]
