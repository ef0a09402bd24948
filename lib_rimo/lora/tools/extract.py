"""Makes a LoRA of what a fine-tuned checkpoint changed in its base model."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from lib_rimo.errors import UserError
from lib_rimo.lora.delta import split_modules
from lib_rimo.lora.files import LoraFile
from lib_rimo.lora.keys import trained_layers
from lib_rimo.lora.tools.factors import RankLimit, factorize
from lib_rimo.lora.tools.record import minimum_metadata
from lib_rimo.sd import ldm_layout
from lib_rimo.sd.checkpoint import Checkpoint, load_checkpoint
from lib_rimo.sd.family import detect_family
from lib_rimo.sd.model_file import TensorFile, open_tensors
from lib_rimo.sd.text_encoders import TEXT_ENCODERS

MIN_DIFF = 0.01
"""Text encoders that differ nowhere by more than this are taken for the same, as by kohya's tool:
rounding to half precision differs by less."""


def extract(
    original: str | os.PathLike[str],
    tuned: str | os.PathLike[str],
    title: str,
    limit: RankLimit,
    *,
    dtype: torch.dtype = torch.float16,
    min_diff: float = MIN_DIFF,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> LoraFile:
    """A LoRA that brings the original model near the tuned one.

    Both are LDM single files of one family. 3x3 convolutions are left out where the limit has no
    `conv_dim`, as in kohya's extract_lora_from_models.py.
    Raises UserError for models of two families, and for two that do not differ.
    """
    model = load_checkpoint(original)
    with open_tensors(Path(tuned)) as file:
        family = detect_family(file.shapes, Path(tuned).name)
        if family != model.family:
            raise UserError(
                "{original} and {tuned} are models of different families ({families}).",
                original=Path(original).name,
                tuned=Path(tuned).name,
                families=[model.family, family],
            )
        tuned_weight = _reader(model, file)
        layers = list(_layers(model, with_convolutions=limit.conv_dim is not None))
        is_same_text = not any(
            float((tuned_weight(path) - weight.float()).abs().max()) > min_diff
            for _, path, weight in layers
            if path[0] > 0
        )
        tensors: dict[str, Tensor] = {}
        for done, (key, path, weight) in enumerate(layers):
            progress(done, len(layers))
            change = tuned_weight(path) - weight.float()
            if (is_same_text and path[0] > 0) or not bool(change.any()):
                continue
            factors = factorize(change, limit)
            for name, tensor in factors.tensors().items():
                tensors[f"{key}.{name}"] = tensor.to(dtype).contiguous()
    if not tensors:
        raise UserError(
            "{original} and {tuned} do not differ in any layer that a LoRA has.",
            original=Path(original).name,
            tuned=Path(tuned).name,
        )
    predicts_v = model.prediction_type == "v_prediction"
    metadata = minimum_metadata(family, title, split_modules(tensors), predicts_v=predicts_v)
    return LoraFile(tensors, metadata)


_Path = tuple[int, str]
"""A weight's place: 0 for the UNet or the text encoder's number from 1, and its name in there."""


def _layers(model: Checkpoint, *, with_convolutions: bool) -> Iterator[tuple[str, _Path, Tensor]]:
    """(key, place, weight) of every layer that a LoRA of the model has."""
    parts = [model.unet, *model.text_encoders]
    places = {
        id(parameter): (number, name)
        for number, part in enumerate(parts)
        for name, parameter in part.named_parameters()
    }
    for key, parent, name, residual in trained_layers(
        model.family, model.unet, model.text_encoders
    ):
        weight = parent.get_submodule(name).get_parameter("weight")
        if with_convolutions or not residual:
            yield key, places[id(weight)], weight.detach()


def _reader(model: Checkpoint, file: TensorFile) -> Callable[[_Path], Tensor]:
    """Reads a weight of another file of the model's architecture, in float32."""
    parts = [model.unet, *model.text_encoders]
    layouts = [ldm_layout.unet_layout(model.unet.state_dict())] + [
        place.layout(encoder.state_dict())
        for place, encoder in zip(TEXT_ENCODERS[model.family], model.text_encoders, strict=True)
    ]

    def read(path: _Path) -> Tensor:
        number, name = path
        shape = parts[number].get_parameter(name).shape
        source = layouts[number][name]
        if source.key not in file.shapes:
            raise UserError(
                "The model file lacks {key}; it is incomplete or altered.", key=source.key
            )
        tensor = source.read(file.get, shape)
        if tensor.shape != shape:
            raise UserError(
                "{key} has another shape in one of the models: they are of different "
                "architectures.",
                key=source.key,
            )
        return tensor.float()

    return read
