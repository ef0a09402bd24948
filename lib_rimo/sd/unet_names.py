"""How the two codes of Stable Diffusion's UNet call its modules.

diffusers counts levels and the layers in each (`down_blocks.1.attentions.0`); the original LDM
code, whose names most files carry, numbers the steps through (`input_blocks.4.1`). Every level has
two layers going down and three going up. Nothing here needs PyTorch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

RESNET_LAYERS = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
"""A residual block's layers: diffusers' name -> LDM's."""
_RESNET_LAYERS_BACK = {ldm_name: name for name, ldm_name in RESNET_LAYERS.items()}
_OUTSIDE_BLOCKS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_OUTSIDE_BLOCKS_BACK = {ldm_name: name for name, ldm_name in _OUTSIDE_BLOCKS.items()}
_LDM_BLOCK_MODULE = re.compile(
    r"(?:(input_blocks|output_blocks)\.(\d{1,4})|middle_block)\.([0-2])(?:\.(.+))?$"
)
_BLOCK_MODULE = re.compile(
    r"(?:(down_blocks|up_blocks)\.(\d{1,4})|mid_block)\."
    r"(resnets|attentions|downsamplers|upsamplers)\.(\d{1,4})(?:\.(.+))?$"
)


def input_block(level: int, layer: int) -> int:
    """LDM's number of a layer going down; the first convolution is 0, layer 2 the downsampler."""
    return 3 * level + 1 + layer


def output_block(level: int, layer: int) -> int:
    """LDM's number of a layer going up; an upsampler stands in the level's layer 2."""
    return 3 * level + layer


def ldm_module_name(module_name: str, up_blocks_without_attention: Iterable[int] = ()) -> str:
    """The name in LDM's layout of a UNet module that diffusers calls `module_name`.

    An upsampler stands after the attention, or in its place where the level has none
    (`up_blocks_without_attention`: 0 in SD1 and SD2).
    Raises ValueError for a name that is no UNet module's.
    """
    if module_name in _OUTSIDE_BLOCKS:
        return _OUTSIDE_BLOCKS[module_name]
    match = _BLOCK_MODULE.match(module_name)
    if match is None:
        raise ValueError(f"not a module of an SD UNet: {module_name}")
    side, kind, inner = match[1], match[3], match[5]
    level, layer = int(match[2] or 0), int(match[4])
    if kind == "downsamplers":
        place, inner = f"input_blocks.{input_block(level, 2)}.0", "op"
    elif kind == "upsamplers":
        position = 1 if level in up_blocks_without_attention else 2
        place = f"output_blocks.{output_block(level, 2)}.{position}"
    elif side is None:
        place = f"middle_block.{1 if kind == 'attentions' else 2 * layer}"
    elif side == "down_blocks":
        place = f"input_blocks.{input_block(level, layer)}.{int(kind == 'attentions')}"
    else:
        place = f"output_blocks.{output_block(level, layer)}.{int(kind == 'attentions')}"
    if kind == "resnets" and inner is not None:
        inner = RESNET_LAYERS.get(inner, inner)  # while it is trained a layer has parts of its own
    return place if inner is None else f"{place}.{inner}"


def diffusers_module_name(module_name: str) -> str:
    """diffusers' name of a UNet module that LDM's layout calls `module_name`.

    Raises ValueError for a name that is no UNet module's.
    """
    if module_name in _OUTSIDE_BLOCKS_BACK:
        return _OUTSIDE_BLOCKS_BACK[module_name]
    match = _LDM_BLOCK_MODULE.match(module_name)
    # The third module of a block can only be the upsampler of one going up.
    is_third = match is not None and match[1] is not None and match[3] == "2"
    if match is None or (is_third and (match[1], match[4]) != ("output_blocks", "conv")):
        raise ValueError(f"not a module of an SD UNet: {module_name}")
    side, number, position, inner = match[1], int(match[2] or 0), int(match[3]), match[4]
    if side is None:
        place = "mid_block." + ("resnets.0", "attentions.0", "resnets.1")[position]
    elif side == "input_blocks":
        level, layer = divmod(number - 1, 3)
        if layer == 2:
            place, inner = f"down_blocks.{level}.downsamplers.0", "conv"
        else:
            place = f"down_blocks.{level}.{('resnets', 'attentions')[position]}.{layer}"
    else:
        level, layer = divmod(number, 3)
        if inner == "conv":  # nothing else has a layer of this name
            place = f"up_blocks.{level}.upsamplers.0"
        else:
            place = f"up_blocks.{level}.{('resnets', 'attentions')[position]}.{layer}"
    if ".resnets." in place and inner is not None:
        inner = _RESNET_LAYERS_BACK.get(inner, inner)
    return place if inner is None else f"{place}.{inner}"
