"""Reads LDM single files of SD1.x, SD2.x and SDXL into diffusers models, offline.

Every size is read off the tensors' shapes. What shapes cannot tell (the number of heads, the
prediction type of a v-prediction model, a small CLIP's own tokenizer) comes from the family, from
the file's metadata or from a `.yaml` of the same name beside the file, as in the WebUI.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, cast

import torch
import yaml
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from lib_rimo.errors import UserError
from lib_rimo.inference import ldm_layout
from lib_rimo.inference.ldm_layout import UNET_PREFIX, VAE_PREFIX, Layout
from lib_rimo.inference.tokenizer import clip_tokenizer, pad_with_zero
from lib_rimo.lora.files import written_beside

Family = Literal["sd1", "sd2", "sdxl"]
PredictionType = Literal["epsilon", "v_prediction"]
TextEncoder: TypeAlias = "CLIPTextModel | CLIPTextModelWithProjection"

CLIP_VOCABULARY = 49408
CLIP_END = 49407
CLIP_WIDTHS = (768, 1024, 1280)  # ViT-L, ViT-H, ViT-bigG: 64 for each head
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
) -> Checkpoint:
    """Load an LDM single file (`.safetensors`, or `.ckpt` with weights-only unpickling).

    Tensors are read one by one into models without memory of their own, so the peak is one copy
    of the model. In float16 the autoencoder stays in float32, in which SDXL's does not overflow.
    Raises UserError for a missing, unreadable or foreign file.
    """
    path = Path(path)
    with _open(path) as file:
        family = detect_family(file, path.name)
        config = _read_yaml(path)
        unet = _load_unet(file, family, config, device, dtype)
        encoders = _load_text_encoders(file, family, path, config, device, dtype)
        vae_dtype = torch.float32 if dtype == torch.float16 else dtype
        vae = _load_vae(file, family, config, device, vae_dtype)
        prediction = _stated_prediction_type(file, config)
        if prediction is None:
            prediction = _probe_prediction_type(unet) if family == "sd2" else "epsilon"
        return Checkpoint(
            path=path,
            family=family,
            prediction_type=prediction,
            zero_terminal_snr="ztsnr" in file.shapes,
            unet=unet,
            text_encoders=encoders,
            tokenizers=_make_tokenizers(family, encoders, path, config),
            vae=vae,
            metadata=dict(file.metadata),
        )


def save_checkpoint(checkpoint: Checkpoint, path: str | os.PathLike[str]) -> None:
    """Write a checkpoint as an LDM single file, whole or not at all.

    SD2's last text layer, which the model does not use, is not kept.
    """
    tensors = {
        key: tensor.detach().cpu().clone() for key, tensor in ldm_tensors(checkpoint).items()
    }
    with written_beside(Path(path)) as beside:
        save_file(tensors, beside, metadata={"format": "pt", **checkpoint.metadata})


def ldm_tensors(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """All tensors of a checkpoint under their keys in an LDM single file."""
    unet, vae = checkpoint.unet, checkpoint.vae
    tensors = ldm_layout.to_ldm(unet.state_dict(), ldm_layout.unet_layout(unet.state_dict()))
    tensors |= ldm_layout.to_ldm(vae.state_dict(), ldm_layout.vae_layout(vae.state_dict()))
    places = _TEXT_ENCODERS[checkpoint.family]
    for place, encoder in zip(places, checkpoint.text_encoders, strict=True):
        tensors |= ldm_layout.to_ldm(encoder.state_dict(), place.layout(encoder.state_dict()))
    return tensors


# -- files ------------------------------------------------------------------------------------


class TensorFile(Protocol):
    """A file of tensors, read one at a time."""

    shapes: Mapping[str, tuple[int, ...]]
    metadata: Mapping[str, str]

    def get(self, key: str) -> Tensor:
        """The tensor under this key."""

    def __enter__(self) -> "TensorFile": ...

    def __exit__(self, *_: object) -> None: ...


class _SafetensorsFile:
    def __init__(self, path: Path) -> None:
        self._file = cast(Any, safe_open(path, framework="pt"))
        self.metadata: Mapping[str, str] = self._file.metadata() or {}
        self._keys = {_modern_key(key): key for key in self._file.keys()}  # noqa: SIM118
        self.shapes: Mapping[str, tuple[int, ...]] = {
            key: tuple(self._file.get_slice(stored).get_shape())
            for key, stored in self._keys.items()
        }

    def get(self, key: str) -> Tensor:
        tensor: Tensor = self._file.get_tensor(self._keys[key])
        return tensor

    def __enter__(self) -> "_SafetensorsFile":
        self._file.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._file.__exit__(*error)


class _PickledFile:
    metadata: Mapping[str, str] = {}

    def __init__(self, path: Path) -> None:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        content = content.get("state_dict", content)
        self._tensors = {
            _modern_key(key): tensor
            for key, tensor in content.items()
            if isinstance(tensor, Tensor)
        }
        self.shapes: Mapping[str, tuple[int, ...]] = {
            key: tuple(tensor.shape) for key, tensor in self._tensors.items()
        }

    def get(self, key: str) -> Tensor:
        return self._tensors[key]

    def __enter__(self) -> "_PickledFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._tensors.clear()


def _modern_key(key: str) -> str:
    """Today's name of a key: early SD1 merges lack `text_model.`, SD2-Turbo is named as SDXL."""
    old = "cond_stage_model.transformer."
    if key.startswith((old + "embeddings.", old + "encoder.", old + "final_layer_norm.")):
        return f"{old}text_model.{key.removeprefix(old)}"
    if key.startswith("conditioner.embedders.0.model."):
        return key.replace("conditioner.embedders.0.", "cond_stage_model.", 1)
    return key


def _open(path: Path) -> TensorFile:
    if not path.is_file():
        raise UserError(f"There is no model file {path}; give the path of a .safetensors file.")
    if path.suffix == ".safetensors":
        try:
            return _SafetensorsFile(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise UserError(
                f"{path.name} is damaged or not a safetensors file ({error}); download it again."
            ) from error
    if path.suffix not in (".ckpt", ".pt", ".pth", ".bin"):
        raise UserError(f"{path.name} is not a model file; give a .safetensors or .ckpt file.")
    try:
        return _PickledFile(path)
    except Exception as error:  # unpickling foreign bytes can raise anything
        raise UserError(
            f"{path.name} cannot be read without running the code it may contain, so it was not "
            f"opened; use the model's .safetensors version."
        ) from error


def _read_yaml(path: Path) -> dict[str, Any]:
    """`model.params` of the `.yaml` beside the file, empty if there is none."""
    beside = path.with_suffix(".yaml")
    if not beside.is_file():
        return {}
    try:
        content = yaml.safe_load(beside.read_text("utf-8"))
        params = content["model"]["params"]
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise UserError(
            f"{beside.name} is not an LDM configuration (model.params is missing); "
            f"mend it or move it away."
        ) from error
    return dict(params)


# -- what a file is ---------------------------------------------------------------------------

_FOREIGN = (  # (what a key contains, what such a file is)
    ("double_blocks.", "a Flux model"),
    ("joint_blocks.", "a Stable Diffusion 3 model"),
    ("control_model.", "a ControlNet"),
    ("zero_convs.", "a ControlNet"),
    ("lora_", "a LoRA"),
    ("hada_", "a LoRA (LoHa)"),
    ("lokr_", "a LoRA (LoKr)"),
    ("emb_params", "a textual inversion embedding"),
    ("clip_g", "a textual inversion embedding"),
    ("down_blocks.", "a part of a diffusers model"),
    ("layers.0.", "a model of another kind"),
)


def detect_family(file: TensorFile, name: str) -> Family:
    """The family of an LDM single file, told by its keys and shapes; UserError for others."""
    shapes = file.shapes
    if f"{UNET_PREFIX}input_blocks.0.0.weight" not in shapes or any(
        "double_blocks." in key or "joint_blocks." in key for key in shapes
    ):
        raise UserError(
            f"{name} is {_describe(shapes)}, not a Stable Diffusion checkpoint; "
            f"choose an SD1.x, SD2.x or SDXL single file."
        )
    channels = shapes[f"{UNET_PREFIX}input_blocks.0.0.weight"][1]
    if channels != 4:
        kind = {9: "an inpainting", 8: "an instruct-pix2pix"}.get(channels, "a special")
        raise UserError(f"{name} is {kind} model; choose the plain text-to-image version.")
    if "conditioner.embedders.1.model.ln_final.weight" in shapes:
        return "sdxl"
    if f"{UNET_PREFIX}label_emb.0.0.weight" in shapes:
        raise UserError(
            f"{name} is an SDXL refiner or lacks its text encoders; choose an SDXL base model."
        )
    if "cond_stage_model.model.ln_final.weight" in shapes:
        return "sd2"
    if "cond_stage_model.transformer.text_model.final_layer_norm.weight" in shapes:
        return "sd1"
    raise UserError(f"{name} holds no text encoder; choose a full checkpoint.")


def _describe(shapes: Mapping[str, tuple[int, ...]]) -> str:
    for part, kind in _FOREIGN:
        if any(part in key for key in shapes):
            return kind
    if any(key.startswith((VAE_PREFIX, "encoder.", "decoder.")) for key in shapes):
        return "a VAE"
    return "a file of another kind"


def _stated_prediction_type(file: TensorFile, config: Mapping[str, Any]) -> PredictionType | None:
    """The prediction type as the `.yaml`, the metadata or a marker tensor states it."""
    scaling = json.dumps(config.get("denoiser_config", ""))  # SDXL's configurations
    if config.get("parameterization") == "v" or "VScaling" in scaling:
        return "v_prediction"
    if config.get("parameterization") == "eps" or "EpsScaling" in scaling:
        return "epsilon"
    if "v_pred" in file.shapes:
        return "v_prediction"
    stated = file.metadata.get("modelspec.prediction_type", "")
    if stated in ("v", "v_prediction"):
        return "v_prediction"
    return "epsilon" if stated else None


@torch.no_grad()
def _probe_prediction_type(unet: UNet2DConditionModel) -> PredictionType:
    """Ask an SD2 model that nothing is stated of, as the WebUI does.

    At the last timestep the latent is all noise: an epsilon model returns its input, a v model
    something near its negative picture, whose mean is well below.
    """
    latent = torch.full((1, 4, 8, 8), 0.5, device=unet.device, dtype=unet.dtype)
    context = torch.zeros(
        (1, 2, unet.config.cross_attention_dim), device=unet.device, dtype=unet.dtype
    )
    output = unet(latent, 999, encoder_hidden_states=context).sample
    return "v_prediction" if (output - latent).float().mean().item() < -1 else "epsilon"


# -- models -----------------------------------------------------------------------------------


def _fill(
    model: nn.Module,
    layout: Layout,
    file: TensorFile,
    device: str | torch.device,
    dtype: torch.dtype,
) -> None:
    """Give a model on the meta device its tensors, copied out of the file one at a time."""
    tensors: dict[str, Tensor] = {}
    for key, empty in model.state_dict().items():
        source = layout[key]
        if source.key not in file.shapes:
            raise UserError(f"The model file lacks {source.key}; it is incomplete or altered.")
        tensor = source.read(file.get, empty.shape)
        if tensor.shape != empty.shape:
            raise UserError(
                f"{source.key} of the model file has shape {tuple(tensor.shape)} where "
                f"{tuple(empty.shape)} was expected; it is of an unknown architecture."
            )
        tensors[key] = tensor.to(device=device, dtype=dtype, copy=True)
    model.load_state_dict(tensors, assign=True)
    model.requires_grad_(False).eval()


def _count(shapes: Mapping[str, object], prefix: str) -> int:
    """How many numbered parts follow `prefix`: `prefix0.`, `prefix1.`, ..."""
    numbers = {key[len(prefix) :].split(".")[0] for key in shapes if key.startswith(prefix)}
    return len(numbers)


def _load_unet(
    file: TensorFile,
    family: Family,
    config: Mapping[str, Any],
    device: str | torch.device,
    dtype: torch.dtype,
) -> UNet2DConditionModel:
    unet_config = config.get("unet_config", config.get("network_config", {})).get("params", {})
    with torch.device("meta"):
        unet = UNet2DConditionModel(**unet_arguments(file.shapes, family, unet_config))
    _fill(unet, ldm_layout.unet_layout(unet.state_dict()), file, device, dtype)
    return unet


def unet_arguments(
    shapes: Mapping[str, tuple[int, ...]], family: Family, config: Mapping[str, Any]
) -> dict[str, Any]:
    """Arguments of UNet2DConditionModel for an LDM file's shapes.

    `config` is `unet_config.params` of its `.yaml`, for the number of heads alone.
    """
    blocks = f"{UNET_PREFIX}input_blocks."
    last = _count(shapes, blocks) - 1
    downsamplers = [n for n in range(1, last) if f"{blocks}{n}.0.op.weight" in shapes]
    layers_per_block = downsamplers[0] - 1
    first_of_level = [1, *(number + 1 for number in downsamplers)]
    depths = [_count(shapes, f"{blocks}{n}.1.transformer_blocks.") for n in first_of_level]
    channels = [shapes[f"{blocks}{n}.0.out_layers.3.weight"][0] for n in first_of_level]
    depths_or_middle = [
        depth or _count(shapes, f"{UNET_PREFIX}middle_block.1.transformer_blocks.")
        if n == len(depths) - 1
        else depth or 1
        for n, depth in enumerate(depths)
    ]
    middle = f"{UNET_PREFIX}middle_block.1."
    attention = f"{middle}transformer_blocks.0.attn2.to_k.weight"
    arguments: dict[str, Any] = {
        "sample_size": {"sd1": 64, "sd2": 96, "sdxl": 128}[family],
        "block_out_channels": tuple(channels),
        "layers_per_block": layers_per_block,
        "down_block_types": tuple(
            "CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths
        ),
        "up_block_types": tuple(
            "CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(depths)
        ),
        "transformer_layers_per_block": tuple(depths_or_middle),
        "cross_attention_dim": shapes[attention][1],
        # diffusers' "attention_head_dim" is, for historical reasons, the number of heads.
        "attention_head_dim": tuple(_heads(config, family, channel) for channel in channels),
        "use_linear_projection": len(shapes[f"{middle}proj_in.weight"]) == 2,
        "upcast_attention": family == "sd2",  # its attention overflows in float16
    }
    if f"{UNET_PREFIX}label_emb.0.0.weight" in shapes:
        arguments |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": shapes[f"{UNET_PREFIX}label_emb.0.0.weight"][
                1
            ],
        }
    return arguments


def _heads(config: Mapping[str, Any], family: Family, channels: int) -> int:
    if config.get("num_head_channels", -1) != -1:
        return int(channels // config["num_head_channels"])
    if config.get("num_heads", -1) != -1:
        return int(config["num_heads"])
    return 8 if family == "sd1" else max(1, channels // 64)


def _load_vae(
    file: TensorFile,
    family: Family,
    config: Mapping[str, Any],
    device: str | torch.device,
    dtype: torch.dtype,
) -> AutoencoderKL:
    scaling_factor = float(config.get("scale_factor", SCALING_FACTOR[family]))
    with torch.device("meta"):
        vae = AutoencoderKL(**vae_arguments(file.shapes), scaling_factor=scaling_factor)
    _fill(vae, ldm_layout.vae_layout(vae.state_dict()), file, device, dtype)
    return vae


def vae_arguments(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Arguments of AutoencoderKL for an LDM file's shapes."""
    encoder = f"{VAE_PREFIX}encoder."
    if f"{encoder}conv_in.weight" not in shapes:
        raise UserError("The model file holds no VAE; choose a full checkpoint.")
    levels = _count(shapes, f"{encoder}down.")
    return {
        "block_out_channels": tuple(
            shapes[f"{encoder}down.{level}.block.0.conv2.weight"][0] for level in range(levels)
        ),
        "layers_per_block": _count(shapes, f"{encoder}down.0.block."),
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "latent_channels": shapes[f"{VAE_PREFIX}decoder.conv_in.weight"][1],
    }


# -- text encoders ----------------------------------------------------------------------------


@dataclass(frozen=True)
class _TextEncoderPlace:
    """Where a family's file keeps a text encoder, and in whose layout."""

    prefix: str
    open_clip: bool = False
    unused_layers: int = 0
    projection: bool = False

    def layout(self, keys: Mapping[str, object]) -> Layout:
        make = ldm_layout.open_clip_layout if self.open_clip else ldm_layout.clip_layout
        return make(keys, self.prefix)


_TEXT_ENCODERS: dict[Family, tuple[_TextEncoderPlace, ...]] = {
    "sd1": (_TextEncoderPlace("cond_stage_model.transformer."),),
    # SD2 was trained on the output of the last layer but one.
    "sd2": (_TextEncoderPlace("cond_stage_model.model.", open_clip=True, unused_layers=1),),
    "sdxl": (
        _TextEncoderPlace("conditioner.embedders.0.transformer."),
        _TextEncoderPlace("conditioner.embedders.1.model.", open_clip=True, projection=True),
    ),
}


def _load_text_encoders(
    file: TensorFile,
    family: Family,
    path: Path,
    config: Mapping[str, Any],
    device: str | torch.device,
    dtype: torch.dtype,
) -> list[TextEncoder]:
    encoders = []
    for place in _TEXT_ENCODERS[family]:
        folder = _small_clip_folder(path, config)
        text_config = _text_config(file.shapes, place, folder)
        if folder is None and "version" in _clip_params(config):
            _check_width(text_config.hidden_size, path, _clip_params(config)["version"])
        kind = CLIPTextModelWithProjection if place.projection else CLIPTextModel
        with torch.device("meta"):
            encoder = kind(text_config)
        _fill(encoder, place.layout(encoder.state_dict()), file, device, dtype)
        # Not in the file: the positions 0, 1, ... are a buffer that the meta device left empty.
        for name, buffer in list(encoder.named_buffers()):
            owner = encoder.get_submodule(name.rpartition(".")[0])
            positions = torch.arange(buffer.shape[-1], device=device).expand(buffer.shape)
            owner.register_buffer(name.rpartition(".")[2], positions, persistent=False)
        encoders.append(encoder)
    return encoders


def _text_config(
    shapes: Mapping[str, tuple[int, ...]], place: _TextEncoderPlace, folder: Path | None
) -> CLIPTextConfig:
    if folder is not None and not place.open_clip:
        return CLIPTextConfig.from_pretrained(folder, local_files_only=True)
    if place.open_clip:
        embedding, position = "token_embedding.weight", "positional_embedding"
        layers, hidden = "transformer.resblocks.", "transformer.resblocks.0.mlp.c_fc.weight"
    else:
        embedding = "text_model.embeddings.token_embedding.weight"
        position = "text_model.embeddings.position_embedding.weight"
        layers, hidden = "text_model.encoder.layers.", "text_model.encoder.layers.0.mlp.fc1.weight"
    vocabulary, width = shapes[place.prefix + embedding]
    projection = shapes.get(f"{place.prefix}text_projection", (width, width))
    return CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=shapes[place.prefix + hidden][0],
        projection_dim=projection[1],
        num_hidden_layers=_count(shapes, place.prefix + layers) - place.unused_layers,
        num_attention_heads=max(1, width // 64),
        max_position_embeddings=shapes[place.prefix + position][0],
        hidden_act="gelu" if place.open_clip else "quick_gelu",
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=0 if place.open_clip else vocabulary - 1,
    )


def _clip_params(config: Mapping[str, Any]) -> dict[str, Any]:
    return dict(config.get("cond_stage_config", {}).get("params") or {})


def _check_width(width: int, path: Path, version: str) -> None:
    """The number of heads of the known CLIPs follows from their width, others have to say it."""
    if width not in CLIP_WIDTHS:
        raise UserError(
            f"{path.name} has a text encoder of its own; put the folder {version} with its "
            f"config.json, which {path.stem}.yaml names, beside it."
        )


def _small_clip_folder(path: Path, config: Mapping[str, Any]) -> Path | None:
    """The folder with a small CLIP's `config.json` and tokenizer that the `.yaml` names.

    A relative path counts from the `.yaml`'s own folder.
    """
    version = _clip_params(config).get("version")
    if not version:
        return None
    for parent in (path.parent, path.resolve().parent):  # a WebUI's folder may hold a link
        if (parent / version / "config.json").is_file():
            return Path(parent / version)
    return None


def _make_tokenizers(
    family: Family, encoders: list[TextEncoder], path: Path, config: Mapping[str, Any]
) -> list[CLIPTokenizer]:
    return list(_each_tokenizer(family, encoders, _small_clip_folder(path, config), path))


def _each_tokenizer(
    family: Family, encoders: list[TextEncoder], folder: Path | None, path: Path
) -> Iterator[CLIPTokenizer]:
    for place, encoder in zip(_TEXT_ENCODERS[family], encoders, strict=True):
        if folder is not None and (folder / "merges.txt").is_file() and not place.open_clip:
            yield CLIPTokenizer.from_pretrained(folder, local_files_only=True)
            continue
        if encoder.config.vocab_size != CLIP_VOCABULARY:
            raise UserError(
                f"{path.name} has a vocabulary of its own; keep the .yaml that names its "
                f"tokenizer's folder beside it."
            )
        yield pad_with_zero(clip_tokenizer()) if place.open_clip else clip_tokenizer()
