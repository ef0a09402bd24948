"""What a file that a tool has made says about itself, in the metadata that WebUIs read."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor

from lib_rimo.lora.delta import Tensors, form_of
from lib_rimo.lora.facts import ARCHITECTURES, BASE_VERSIONS


def network_facts(modules: Mapping[str, Tensors]) -> dict[str, str]:
    """kohya's words for the network that these layers are; `Dynamic` where they differ."""
    dims: Counter[str] = Counter()
    alphas: Counter[str] = Counter()
    for tensors in modules.values():
        rank = form_of(tensors).rank(tensors)
        if rank is not None:
            dims[str(rank)] += 1
            alphas[str(float(tensors.get("alpha", torch.tensor(float(rank)))))] += 1
    return {
        "ss_network_module": "networks.lora",
        "ss_network_dim": _one_or_dynamic(dims),
        "ss_network_alpha": _one_or_dynamic(alphas),
    }


def _one_or_dynamic(values: Counter[str]) -> str:
    return next(iter(values)) if len(values) == 1 else "Dynamic"


def minimum_metadata(
    family: str, title: str, modules: Mapping[str, Tensors], *, predicts_v: bool = False
) -> dict[str, str]:
    """As much as WebUIs need to know of a LoRA that was not trained: model, network and title."""
    version = BASE_VERSIONS.get(family, family)
    return {
        "ss_v2": str(family == "sd2"),
        "ss_base_model_version": version + ("_v" if predicts_v and family != "sdxl" else ""),
        "ss_network_args": json.dumps({}),
        "ss_output_name": title,
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": ARCHITECTURES.get(family, family),
        "modelspec.title": title,
        "modelspec.date": time.strftime("%Y-%m-%dT%H:%M:%S"),
        **network_facts(modules),
    }


def stored_dtype(tensors: Mapping[str, Tensor]) -> torch.dtype:
    """The type that most of a file's numbers have; float32 where it has none."""
    sizes: Counter[torch.dtype] = Counter()
    for tensor in tensors.values():
        if tensor.is_floating_point():
            sizes[tensor.dtype] += tensor.numel()
    return sizes.most_common(1)[0][0] if sizes else torch.float32
