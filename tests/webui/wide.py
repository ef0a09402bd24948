"""The embedded base in SD1.5's widths: the same pictures, in a file that the Forges recognise.

The Forges tell a model by its shapes and have one CLIP and one autoencoder for it, so a narrow
checkpoint is none to them. Each channel is repeated here, and each sum over channels divided by how
often: normalisation sees the same means and deviations, so every layer says what it said. Heads of
attention, which nothing normalises, are laid into wider ones and filled up with zeros.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lib_rimo.base_model.networks import HEADS, TEXT_HEADS, make_unet
from lib_rimo.base_model.publish import MODEL
from lib_rimo.sd.ldm_layout import unet_layout

UNET, TEXT, VAE = "model.diffusion_model.", "cond_stage_model.transformer.", "first_stage_model."
UNET_TIMES, TEXT_TIMES = 5, 12  # 64 -> 320 channels, 64 -> 768
VAE_TIMES = (2, 4, 4, 4)  # 64, 64, 128, 128 -> 128, 256, 512, 512, by level
WIDE_HEADS, WIDE_TEXT_HEADS = 8, 12


@dataclass(frozen=True)
class Axis:
    """Where the channels of a narrow layer are in the wide one."""

    index: torch.Tensor  # (wide,): which narrow channel; -1 where there is 0
    factor: float = 1.0

    def laid(self, tensor: torch.Tensor, dim: int) -> torch.Tensor:
        """A narrow tensor with one of its dimensions made wide."""
        wide = tensor.index_select(dim, self.index.clamp(min=0)) * self.factor
        shape = [1] * tensor.ndim
        shape[dim] = -1
        return wide * (self.index >= 0).to(wide.dtype).view(shape)


def outputs(channels: int, times: int) -> Axis:
    return Axis(torch.arange(channels).repeat_interleave(times))


def inputs(channels: int, times: int) -> Axis:
    return Axis(torch.arange(channels).repeat_interleave(times), 1 / times)


def in_heads(channels: int, times: int, narrow: int, wide: int, factor: float = 1.0) -> Axis:
    """The channels between attention's layers: each head in the beginning of a wider one."""
    heads = torch.full((wide, channels * times // wide), -1)
    size = channels // narrow
    heads[:narrow, :size] = torch.arange(channels).view(narrow, size)
    return Axis(heads.flatten(), factor)


def query_factor(channels: int, times: int, narrow: int, wide: int) -> float:
    """What undoes that attention divides by the root of a head's wider size."""
    return ((channels * times // wide) / (channels // narrow)) ** 0.5


def of_time(channels: int, times: int) -> Axis:
    """The cosines and sines of a step: a narrow frequency is each `times`-th wide one."""
    index = torch.full((2, channels // 2, times), -1)
    index[:, :, 0] = torch.arange(channels).view(2, channels // 2)
    return Axis(index.flatten())


def widen(path: Path, model: Path = MODEL) -> Path:
    """Write the wide checkpoint of a narrow one; gives its path."""
    narrow = {key: tensor.float() for key, tensor in load_file(model).items()}
    wide = {key: _laid(key, tensor) for key, tensor in narrow.items()}
    wide |= _identities(narrow)
    save_file({key: tensor.half().contiguous() for key, tensor in wide.items()}, path)
    return path


def widen_lora(path: Path, lora: Path, model: Path = MODEL) -> Path:
    """Write a narrow model's LoRA for the wide one; gives its path."""
    with safe_open(model, "pt") as file:
        shapes = {key: file.get_slice(key).get_shape() for key in list(file.keys())}
    layers = {_flat("lora_te_", key.removeprefix(TEXT)): key for key in shapes}
    for name, source in unet_layout(make_unet().state_dict()).items():
        layers[_flat("lora_unet_", name)] = source.key
    with safe_open(lora, "pt") as file:
        tensors, metadata = load_file(lora), file.metadata()
    for key, tensor in tensors.items():
        layer, _, part = key.partition(".")
        rows, columns = axes(layers[layer], shapes[layers[layer]])
        if part == "lora_up.weight":
            tensors[key] = tensor if rows is None else rows.laid(tensor, 0).contiguous()
        elif part == "lora_down.weight":
            tensors[key] = tensor if columns is None else columns.laid(tensor, 1).contiguous()
    save_file(tensors, path, metadata)
    return path


def _flat(prefix: str, name: str) -> str:
    return prefix + name.removesuffix(".weight").replace(".", "_")


def _laid(key: str, tensor: torch.Tensor) -> torch.Tensor:
    for dim, axis in enumerate(axes(key, tensor.shape)):
        if axis is not None and dim < tensor.ndim:
            tensor = axis.laid(tensor, dim)
    return tensor


def axes(key: str, shape: torch.Size) -> tuple[Axis | None, Axis | None]:
    """How the rows and the columns of a narrow tensor are laid; None for what stays as it is."""
    if key.startswith(UNET):
        return _unet_axes(key.removeprefix(UNET), *shape[:2])
    if key.startswith(TEXT):
        return _text_axes(key.removeprefix(TEXT), *shape[:2])
    if key.startswith(VAE):
        return _vae_axes(key.removeprefix(VAE), *shape[:2])
    return None, None  # the schedule


def _unet_axes(key: str, rows: int, columns: int = 0) -> tuple[Axis | None, Axis | None]:
    heads = (UNET_TIMES, HEADS, WIDE_HEADS)
    out, into = outputs(rows, UNET_TIMES), inputs(columns, UNET_TIMES)
    if ".to_q." in key:
        return in_heads(rows, *heads, query_factor(rows, *heads)), into
    if ".to_k." in key or ".to_v." in key:
        return in_heads(rows, *heads), inputs(columns, TEXT_TIMES) if "attn2" in key else into
    if ".to_out.0.weight" in key:
        return out, in_heads(columns, *heads)
    if key == "time_embed.0.weight":
        return out, of_time(columns, UNET_TIMES)
    return None if key.startswith("out.2.") else out, None if "input_blocks.0.0" in key else into


def _text_axes(key: str, rows: int, columns: int = 0) -> tuple[Axis | None, Axis | None]:
    heads = (TEXT_TIMES, TEXT_HEADS, WIDE_TEXT_HEADS)
    out, into = outputs(rows, TEXT_TIMES), inputs(columns, TEXT_TIMES)
    if "_embedding." in key:
        return None, outputs(columns, TEXT_TIMES)
    if ".q_proj." in key:
        return in_heads(rows, *heads, query_factor(rows, *heads)), into
    if ".k_proj." in key or ".v_proj." in key:
        return in_heads(rows, *heads), into
    if ".out_proj.weight" in key:
        return out, in_heads(columns, *heads)
    return out, into


def _vae_axes(key: str, rows: int, columns: int = 0) -> tuple[Axis | None, Axis | None]:
    before, after = _vae_times(key)
    heads = (VAE_TIMES[-1], 1, 1)
    if ".attn_1.q." in key:
        return in_heads(rows, *heads, query_factor(rows, *heads)), inputs(columns, before)
    if ".attn_1.k." in key or ".attn_1.v." in key:
        return in_heads(rows, *heads), inputs(columns, before)
    if ".attn_1.proj_out.weight" in key:
        return outputs(rows, after), in_heads(columns, *heads)
    # A block's first normalisation is of what comes into it.
    return outputs(rows, before if ".norm1." in key else after), inputs(columns, before)


def _vae_times(key: str) -> tuple[int, int]:
    """How often the channels before and after a layer are repeated."""
    part, _, rest = key.partition(".")
    if "quant_conv" in key:
        return 1, 1
    first = VAE_TIMES[0] if part == "encoder" else VAE_TIMES[-1]
    last = VAE_TIMES[-1] if part == "encoder" else VAE_TIMES[0]
    if rest.startswith("conv_in"):
        return 1, first
    if rest.startswith("conv_out"):
        return last, 1
    if rest.startswith("norm_out"):
        return last, last
    if rest.startswith("mid."):
        return VAE_TIMES[-1], VAE_TIMES[-1]
    level = int(rest.split(".")[1])
    neighbour = max(level - 1, 0) if part == "encoder" else min(level + 1, len(VAE_TIMES) - 1)
    enters = ".block.0." in rest and any(
        name in rest for name in (".conv1.weight", ".norm1.", ".nin_shortcut.weight")
    )
    return VAE_TIMES[neighbour] if enters else VAE_TIMES[level], VAE_TIMES[level]


def _identities(narrow: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What SD1.5's autoencoder has beyond the narrow one, and passes on what it gets."""
    tensors: dict[str, torch.Tensor] = {}
    for part, side, block in (("encoder", "down", 1), ("decoder", "up", 2)):
        for level, times in enumerate(VAE_TIMES):
            place = f"{VAE}{part}.{side}.{level}.block"
            channels = narrow[f"{place}.0.conv2.bias"].shape[0]
            wide = channels * times
            for number in "12":
                tensors[f"{place}.{block}.norm{number}.weight"] = torch.ones(wide)
                tensors[f"{place}.{block}.norm{number}.bias"] = torch.zeros(wide)
                tensors[f"{place}.{block}.conv{number}.weight"] = torch.zeros(wide, wide, 3, 3)
                tensors[f"{place}.{block}.conv{number}.bias"] = torch.zeros(wide)
            shortcut = f"{place}.0.nin_shortcut.weight"
            before = _vae_times(shortcut.removeprefix(VAE))[0]
            if before != times and shortcut not in narrow:
                same = torch.eye(channels).view(channels, channels, 1, 1)
                laid = outputs(channels, times).laid(same, 0)
                tensors[shortcut] = inputs(channels, before).laid(laid, 1)
                tensors[f"{place}.0.nin_shortcut.bias"] = torch.zeros(wide)
    return tensors
