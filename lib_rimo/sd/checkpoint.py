"""Reads LDM single files of SD1.x, SD2.x and SDXL into diffusers models, offline.

Every size is read off the tensors' shapes. What shapes cannot tell (the number of heads, the
prediction type of a v-prediction model, a small CLIP's own tokenizer) comes from the family, from
the file's metadata or from a `.yaml` of the same name beside the file, as in the WebUI.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTokenizer

from lib_rimo.sd import ldm_layout
from lib_rimo.sd.architecture import unet_arguments, vae_arguments
from lib_rimo.sd.family import (
    VAE_PREFIX,
    Family,
    PredictionType,
    detect_family,
    stated_prediction_type,
)
from lib_rimo.sd.model_file import Storage, TensorFile, fill, open_tensors, read_yaml
from lib_rimo.sd.prediction import Prediction, Source, probe_prediction
from lib_rimo.sd.text_encoders import (
    TEXT_ENCODERS,
    TextEncoder,
    load_text_encoders,
    make_tokenizers,
)

# The latents' standard deviation is brought to 1 by these (LDM `scale_factor`).
SCALING_FACTOR = {"sd1": 0.18215, "sd2": 0.18215, "sdxl": 0.13025}


@dataclass
class Checkpoint:
    """A Stable Diffusion model as diffusers modules, ready for training and drawing.

    `text_encoders` and `tokenizers` hold one entry for SD1 and SD2, two for SDXL (CLIP-L, then
    OpenCLIP bigG). All modules are in evaluation mode without gradients.
    """

    path: Path
    family: Family
    prediction_type: PredictionType
    zero_terminal_snr: bool
    unet: UNet2DConditionModel
    text_encoders: list[TextEncoder]
    tokenizers: list[CLIPTokenizer]
    vae: AutoencoderKL
    metadata: dict[str, str] = field(default_factory=dict)
    prediction_source: Source = "stated"
    """Whether the file states its prediction type, or it was asked, or nothing tells it."""

    @property
    def name(self) -> str:
        """The file's name without its ending, as infotexts give it."""
        return self.path.stem

    @property
    def device(self) -> torch.device:
        """Where the UNet is."""
        return torch.device(self.unet.device)

    @property
    def dtype(self) -> torch.dtype:
        """The UNet's floating point type."""
        dtype: torch.dtype = self.unet.dtype
        return dtype


def load_checkpoint(
    path: str | os.PathLike[str],
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    memory_format: torch.memory_format = torch.contiguous_format,
    vae: str | os.PathLike[str] = "",
) -> Checkpoint:
    """Load an LDM single file (`.safetensors`, or `.ckpt` with weights-only unpickling).

    Tensors are read one by one into models without memory of their own, so the peak is one copy
    of the model. The memory format is that of the convolutions' weights. In float16 the
    autoencoder stays in float32, in which SDXL's does not overflow.
    `vae` is a file to take the autoencoder from instead: one of its own, or a checkpoint.
    Raises UserError for a missing, unreadable or foreign file.
    """
    path = Path(path)
    storage = Storage(device, dtype, memory_format)
    with open_tensors(path) as file:
        family = detect_family(file.shapes, path.name)
        config = read_yaml(path)
        unet = _load_unet(file, family, config, storage)
        encoders = load_text_encoders(file, family, path, config, storage)
        if dtype == torch.float16:
            storage = storage._replace(dtype=torch.float32)
        if vae:
            with open_tensors(Path(vae)) as other:
                autoencoder = _load_vae(_as_of_a_checkpoint(other), family, config, storage)
        else:
            autoencoder = _load_vae(file, family, config, storage)
        stated = stated_prediction_type(file.shapes, file.metadata, config)
        if stated is None:
            prediction = probe_prediction(unet, family)
        else:
            prediction = Prediction(stated, "ztsnr" in file.shapes, "stated")
        return Checkpoint(
            path=path,
            family=family,
            prediction_type=prediction.type,
            zero_terminal_snr=prediction.zero_terminal_snr or "ztsnr" in file.shapes,
            prediction_source=prediction.source,
            unet=unet,
            text_encoders=encoders,
            tokenizers=make_tokenizers(family, encoders, path, config),
            vae=autoencoder,
            metadata=dict(file.metadata),
        )


def ldm_tensors(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """All tensors of a checkpoint under their keys in an LDM single file.

    SD2's last text layer, which the model does not use, is not among them.
    """
    unet, vae = checkpoint.unet, checkpoint.vae
    tensors = ldm_layout.to_ldm(unet.state_dict(), ldm_layout.unet_layout(unet.state_dict()))
    tensors |= ldm_layout.to_ldm(vae.state_dict(), ldm_layout.vae_layout(vae.state_dict()))
    places = TEXT_ENCODERS[checkpoint.family]
    for place, encoder in zip(places, checkpoint.text_encoders, strict=True):
        tensors |= ldm_layout.to_ldm(encoder.state_dict(), place.layout(encoder.state_dict()))
    return tensors


def _load_unet(
    file: TensorFile, family: Family, config: Mapping[str, Any], storage: Storage
) -> UNet2DConditionModel:
    unet_config = config.get("unet_config", config.get("network_config", {})).get("params", {})
    with torch.device("meta"):
        unet = UNet2DConditionModel(**unet_arguments(file.shapes, family, unet_config))
    fill(unet, ldm_layout.unet_layout(unet.state_dict()), file, storage)
    return unet


class _BareVae:
    """An autoencoder's own file, with the keys that it has in a checkpoint."""

    def __init__(self, file: TensorFile) -> None:
        self._file = file
        self.metadata: Mapping[str, str] = file.metadata
        self.shapes: Mapping[str, tuple[int, ...]] = {
            VAE_PREFIX + key: shape for key, shape in file.shapes.items()
        }

    def get(self, key: str) -> Tensor:
        return self._file.get(key.removeprefix(VAE_PREFIX))

    def __enter__(self) -> "_BareVae":
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _as_of_a_checkpoint(file: TensorFile) -> TensorFile:
    is_bare = not any(key.startswith(VAE_PREFIX) for key in file.shapes)
    return _BareVae(file) if is_bare else file


def _load_vae(
    file: TensorFile, family: Family, config: Mapping[str, Any], storage: Storage
) -> AutoencoderKL:
    scaling_factor = float(config.get("scale_factor", SCALING_FACTOR[family]))
    with torch.device("meta"):
        vae = AutoencoderKL(**vae_arguments(file.shapes), scaling_factor=scaling_factor)
    fill(vae, ldm_layout.vae_layout(vae.state_dict()), file, storage)
    return vae
