"""Writes a LoRA under the names of another program: kohya's, PEFT's and diffusers', ComfyUI's.

Reading knows all of them (`lib_rimo.lora.naming`). kohya's keys have underscores where a module's
path has dots, so a path is taken apart by the words that the field's models are made of.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

from torch import Tensor

from lib_rimo.errors import UserError
from lib_rimo.lora.blocks import UNET_FAMILIES
from lib_rimo.lora.delta import Tensors, embeddings_in, form_of, scale_of, split_modules
from lib_rimo.lora.files import LoraFile
from lib_rimo.lora.keys import UNET_PREFIX
from lib_rimo.lora.tools.resize import is_plain
from lib_rimo.sd.unet_names import diffusers_module_name, ldm_module_name
from lib_rimo.text import printable

Style = Literal["kohya", "peft", "comfyui"]
STYLES: tuple[Style, ...] = ("kohya", "peft", "comfyui")

# Names of modules that have an underscore of their own; everywhere else one stands for a dot.
_COMPOUND_NAMES = (
    *("down_blocks", "up_blocks", "mid_block", "input_blocks", "output_blocks", "middle_block"),
    *("transformer_blocks", "to_q", "to_k", "to_v", "to_out", "proj_in", "proj_out"),
    *("time_emb_proj", "conv_shortcut", "in_layers", "out_layers", "emb_layers"),
    *("skip_connection", "time_embedding", "add_embedding", "time_embed", "label_emb"),
    *("linear_1", "linear_2", "conv_norm_out", "conv_in", "conv_out"),
    *("text_model", "self_attn", "q_proj", "k_proj", "v_proj", "out_proj", "layer_norm1"),
    *("layer_norm2", "final_layer_norm", "text_projection", "token_embedding"),
    *("position_embedding",),
)
_NAME = re.compile("(?:" + "|".join([*_COMPOUND_NAMES, "[^_]+"]) + r")(?=_|$)")
TEXT_ENCODER_KEY = re.compile(r"lora_te(\d?)_(.+)")
_COMFYUI_TEXT_ENCODERS = {
    "sd1": ("clip_l",),
    "sd2": ("clip_h",),
    "sdxl": ("clip_l", "clip_g"),
}


def convert(file: LoraFile, family: str, style: Style) -> LoraFile:
    """The same LoRA under the names of another program; its metadata stay.

    PEFT and diffusers know neither alpha nor other forms than plain LoRA and DoRA: alpha goes into
    the matrices, other forms are refused. Raises UserError for those, for embeddings beside the
    LoRA, which only kohya's names have a place for, and for other models than Stable Diffusion.
    """
    if family not in UNET_FAMILIES:
        raise UserError(
            "A LoRA for {family} keeps its names: those of Stable Diffusion's layers are known "
            "here, no others.",
            family=family,
        )
    embeddings = embeddings_in(file.tensors)
    if embeddings and style != "kohya":
        raise UserError(
            "{names} beside the LoRA cannot be written in this style: only kohya's has a place "
            "for embeddings.",
            names=list(embeddings),
        )
    name_layer = _LAYER_NAMES[style]
    tensors: dict[str, Tensor] = {}
    for key, module in split_modules(file.tensors).items():
        if style == "peft":
            tensors |= _peft_tensors(name_layer(key, family), key, module)
        else:
            tensors |= {f"{name_layer(key, family)}.{part}": t for part, t in module.items()}
    for embedding in embeddings.values():
        tensors |= embedding
    return LoraFile(tensors, dict(file.metadata))


def module_path(key: str) -> str:
    """A module's path with dots, of its name with underscores."""
    return ".".join(_NAME.findall(key))


def _peft_tensors(layer: str, key: str, module: Tensors) -> dict[str, Tensor]:
    bare = {name: tensor for name, tensor in module.items() if name != "dora_scale"}
    if not is_plain(bare):
        raise UserError(
            "{key} is a layer in {form}, which PEFT and diffusers do not know: make a plain LoRA "
            "of it first, `python -m lib_rimo resize`.",
            key=printable(key),
            form="LoCon with Tucker decomposition"
            if form_of(bare).name == "lora"
            else form_of(bare).label,
        )
    up = module["lora_up.weight"]
    magnitude = module.get("dora_scale")
    if magnitude is not None and magnitude.shape[0] != len(up):
        raise UserError(
            "{key} is a DoRA layer with a length for each input, as it was first written; PEFT "
            "and diffusers have one for each output: it stays in kohya's style.",
            key=printable(key),
        )
    tensors = {
        f"{layer}.lora_A.weight": module["lora_down.weight"],
        f"{layer}.lora_B.weight": (up.float() * scale_of(module)).to(up.dtype),
    }
    if magnitude is not None:
        tensors[f"{layer}.lora_magnitude_vector"] = magnitude.flatten()
    return tensors


def _kohya_layer(key: str, family: str) -> str:
    """kohya's trainer names SDXL's UNet as the original code does, SD1's and SD2's as diffusers."""
    text_encoder = TEXT_ENCODER_KEY.match(key)
    if text_encoder:
        number = (text_encoder[1] or "1") if family == "sdxl" else ""
        return f"lora_te{number}_{text_encoder[2]}"
    path = diffusers_path(key)
    named = ldm_module_name(path, _without_attention(family)) if family == "sdxl" else path
    return f"{UNET_PREFIX}_{named.replace('.', '_')}"


def _peft_layer(key: str, family: str) -> str:
    text_encoder = TEXT_ENCODER_KEY.match(key)
    if text_encoder:
        number = "_2" if text_encoder[1] == "2" else ""
        return f"text_encoder{number}.{module_path(text_encoder[2])}"
    return f"unet.{diffusers_path(key)}"


def _comfyui_layer(key: str, family: str) -> str:
    text_encoder = TEXT_ENCODER_KEY.match(key)
    if text_encoder:
        encoder = _COMFYUI_TEXT_ENCODERS[family][int(text_encoder[1] or "1") - 1]
        return f"text_encoders.{encoder}.transformer.{module_path(text_encoder[2])}"
    path = ldm_module_name(diffusers_path(key), _without_attention(family))
    return f"diffusion_model.{path}"


def diffusers_path(key: str) -> str:
    """A UNet layer's path in diffusers' UNet. Raises UserError for a layer that is in none."""
    path = module_path(key.removeprefix(f"{UNET_PREFIX}_"))
    try:
        if path.startswith(("input_blocks.", "middle_block.", "output_blocks.", "time_embed.")):
            return diffusers_module_name(path)
        if path.startswith(("label_emb.", "out.")):
            return diffusers_module_name(path)
        ldm_module_name(path)
    except ValueError:
        raise UserError(
            "{key} is no layer of a Stable Diffusion UNet: it cannot be named.",
            key=printable(key),
        ) from None
    return path


def _without_attention(family: str) -> tuple[int, ...]:
    """The levels going up that have no attention, behind which an upsampler stands otherwise."""
    return () if family == "sdxl" else (0,)


_LAYER_NAMES: dict[Style, Callable[[str, str], str]] = {
    "kohya": _kohya_layer,
    "peft": _peft_layer,
    "comfyui": _comfyui_layer,
}
