"""How kohya's trainer names a LoRA's layers, and how that relates to the model's own names.

A key in a file is `<prefix>_<module name with underscores>.<tensor>`, for example
`lora_unet_mid_block_attentions_0_proj_in.lora_down.weight`. The module name is diffusers' for
SD1 and SD2 and LDM's (`input_blocks_4_1_...`) for the UNet of SDXL, whose reference trainer was
written on LDM's code. Underscores cannot be turned back into dots, so files are matched by making
the key of every module of the model, never by parsing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

UNET_PREFIX = "lora_unet"


def text_encoder_prefixes(family: str) -> tuple[str, ...]:
    """The prefix of each text encoder: one for SD1 and SD2, two for SDXL."""
    return ("lora_te1", "lora_te2") if family == "sdxl" else ("lora_te",)


def unet_key(family: str, module_name: str) -> str:
    """The key of a UNet module that diffusers calls `module_name`."""
    name = ldm_module_name(module_name) if family == "sdxl" else module_name
    return f"{UNET_PREFIX}_{name.replace('.', '_')}"


def text_encoder_key(prefix: str, module_name: str) -> str:
    """The key of a text encoder module, with or without transformers' `text_model.` in front."""
    name = module_name.removeprefix("text_model.")
    return f"{prefix}_text_model_{name.replace('.', '_')}"


def split_tensor_name(name: str) -> tuple[str, str]:
    """Split a tensor's name in a file into its module's key and the rest, at the first dot."""
    key, _, tensor = name.partition(".")
    return key, tensor


_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_OUTSIDE_BLOCKS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_BLOCK_MODULE = re.compile(
    r"(?:(down_blocks|up_blocks)\.(\d+)|mid_block)\."
    r"(resnets|attentions|downsamplers|upsamplers)\.(\d+)(?:\.(.+))?$"
)


def ldm_module_name(module_name: str, up_blocks_without_attention: Iterable[int] = ()) -> str:
    """The name in LDM's layout of a UNet module that diffusers calls `module_name`.

    Every level of SD's UNets has two layers going down and three going up, so the flat number of
    an LDM block is three times the level plus the layer. An upsampler stands after the attention,
    or in its place where the level has none (`up_blocks_without_attention`: 0 in SD1 and SD2).
    Raises ValueError for a name that is no UNet module's.
    """
    if module_name in _OUTSIDE_BLOCKS:
        return _OUTSIDE_BLOCKS[module_name]
    match = _BLOCK_MODULE.match(module_name)
    if match is None:
        raise ValueError(f"not a module of an SD UNet: {module_name}")
    side, level, kind, layer, inner = match.groups()
    number = int(layer)
    if side is None:
        place = f"middle_block.{1 if kind == 'attentions' else 2 * number}"
    elif kind == "downsamplers":
        place, inner = f"input_blocks.{3 * int(level) + 3}.0", "op"
    elif kind == "upsamplers":
        position = 1 if int(level) in up_blocks_without_attention else 2
        place = f"output_blocks.{3 * int(level) + 2}.{position}"
    else:
        first = {"down_blocks": 1, "up_blocks": 0}[side]
        folder = {"down_blocks": "input_blocks", "up_blocks": "output_blocks"}[side]
        place = f"{folder}.{3 * int(level) + first + number}.{int(kind == 'attentions')}"
    if kind == "resnets" and inner is not None:
        inner = _RESNET[inner]
    return place if inner is None else f"{place}.{inner}"
