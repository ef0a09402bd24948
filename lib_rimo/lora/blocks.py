"""The blocks of a model: their names, their layouts, and which key is in which.

A block is a step of the original UNet code (`input_blocks.N`, `middle_block`, `output_blocks.N`);
BASE stands for the text encoder or encoders. Users write block weights as vectors of 12, 17, 20 or
26 numbers; training uses the same layouts for its dims and learning rates per block.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from lib_rimo.errors import UserError
from lib_rimo.sd.unet_names import RESNET_LAYERS, input_block, output_block

Value = TypeVar("Value")

IN_BLOCKS = tuple(f"IN{index:02}" for index in range(12))
OUT_BLOCKS = tuple(f"OUT{index:02}" for index in range(12))
# Those of a UNet.
BLOCKS: tuple[str, ...] = ("BASE", *IN_BLOCKS, "M00", *OUT_BLOCKS)


@dataclass(frozen=True)
class Family:
    """Models whose blocks have the same names: one row of the table below for a further one."""

    title: str
    plain: tuple[str, ...]
    """The blocks that a plain LoRA has layers in, in the order of a vector's values."""
    whole: tuple[str, ...]
    """All blocks; LoCon, LyCORIS and full differences also reach those that are not plain."""
    places: tuple[tuple[re.Pattern[str], str], ...] = ()
    """Where a layer is by its name, where that is no UNet's: the block, `{}` for its number."""


_SD1 = Family(
    "SD1/2",
    ("BASE", "IN01", "IN02", "IN04", "IN05", "IN07", "IN08", "M00", *OUT_BLOCKS[3:]),
    BLOCKS,
)
# SDXL's UNet ends at IN08 and OUT08.
_SDXL = Family(
    "SDXL",
    ("BASE", "IN04", "IN05", "IN07", "IN08", "M00", *OUT_BLOCKS[:6]),
    ("BASE", *IN_BLOCKS[:9], "M00", *OUT_BLOCKS[:9]),
)
_FLUX_BLOCKS = (*(f"D{index:02}" for index in range(19)), *(f"S{index:02}" for index in range(38)))
# BASE is its CLIP; what comes before its transformer and after it are IN00 and OUT00.
_FLUX = Family(
    "Flux",
    _FLUX_BLOCKS,
    ("BASE", "T5", "IN00", *_FLUX_BLOCKS, "OUT00"),
    (
        (re.compile(r"(?:^|_)double_blocks_(\d{1,4})_?"), "D{:02}"),
        (re.compile(r"(?:^|_)(?:single_blocks|single_transformer_blocks)_(\d{1,4})_?"), "S{:02}"),
        (re.compile(r"(?:^|_)transformer_transformer_blocks_(\d{1,4})_?"), "D{:02}"),
        (re.compile(r"(?:^|_)(?:te3|text_encoder_2|t5xxl)_"), "T5"),
        (re.compile(r"(?:^|_)(?:img|txt|time|vector|guidance)_in(?:_|$)"), "IN00"),
        (re.compile(r"(?:^|_)(?:final_layer|proj_out)(?:_|$)"), "OUT00"),
    ),
)
FAMILIES = {"sd1": _SD1, "sd2": _SD1, "sdxl": _SDXL, "Flux": _FLUX}
UNET_FAMILIES = ("sd1", "sd2", "sdxl")
"""Those that are trained and drawn with here; a host may draw with others."""

_LAYOUTS = {
    len(blocks): blocks for family in FAMILIES.values() for blocks in (family.plain, family.whole)
}
LAYOUTS: dict[int, tuple[str, ...]] = {size: _LAYOUTS[size] for size in sorted(_LAYOUTS)}
UNET_LAYOUTS = (12, 17, 20, 26)

# (layout of a plain LoRA, layout of the whole model)
FAMILY_LAYOUTS = {name: (len(family.plain), len(family.whole)) for name, family in FAMILIES.items()}
WHOLE_LAYOUTS = {size: whole for plain, whole in FAMILY_LAYOUTS.values() for size in (plain, whole)}
"""The layout of all blocks of the family that a layout is of."""

ALL_BLOCKS = tuple(
    dict.fromkeys([*BLOCKS, *(block for family in FAMILIES.values() for block in family.whole)])
)
"""Those of every family, the UNet's first."""


def expand_vector(
    values: Sequence[Value], layouts: Collection[int] = tuple(LAYOUTS)
) -> dict[str, Value]:
    """Name the values of a vector: block -> value, for the blocks that its layout names.

    Raises UserError when none of the layouts has that many values.
    """
    layout = LAYOUTS.get(len(values))
    if layout is None or len(values) not in layouts:
        raise UserError(
            "{n} block values fit no layout: write 17 (SD1/2) or 12 (SDXL) for a plain LoRA, "
            "26 (SD1/2) or 20 (SDXL) for all blocks.",
            n=len(values),
        )
    return dict(zip(layout, values, strict=True))


def fitting_layout(blocks: Iterable[str], family: str) -> int:
    """The smaller of a family's layouts that names all of `blocks`: 12, 17, 20 or 26."""
    plain, whole = FAMILY_LAYOUTS[family]
    return plain if set(blocks) <= set(LAYOUTS[plain]) else whole


_TEXT_ENCODER = re.compile(
    r"(?:^|_)(?:te\d?|text_encoder(?:_\d)?|clip_[lgh])_|text_model_|transformer_resblocks_"
)
# A file from elsewhere may have numbers of thousands of digits, which int() refuses.
_LDM_IN = re.compile(r"(?:^|_)input_blocks_(\d{1,4})_\d{1,4}_?")
_LDM_MID = re.compile(r"(?:^|_)middle_block_\d{1,4}_?")
_LDM_OUT = re.compile(r"(?:^|_)output_blocks_(\d{1,4})_\d{1,4}_?")
_DIFFUSERS_DOWN = re.compile(
    r"(?:^|_)down_blocks_(\d{1,4})_(attentions|resnets|downsamplers)_(\d{1,4})_?"
)
_DIFFUSERS_MID = re.compile(r"(?:^|_)mid_block_(?:attentions|resnets)_\d{1,4}_?")
_DIFFUSERS_UP = re.compile(
    r"(?:^|_)up_blocks_(\d{1,4})_(attentions|resnets|upsamplers)_(\d{1,4})_?"
)
_BEFORE_BLOCKS = re.compile(
    r"(?:^|_)(?:conv_in|time_embed(?:ding)?|label_emb|add_embedding|class_embedding)(?:_|$)"
)
_AFTER_BLOCKS = re.compile(r"(?:^|_)(?:conv_norm_out|conv_out|out_[02])(?:_|$)")

_RESNET_LAYERS = {name: ldm_name.replace(".", "_") for name, ldm_name in RESNET_LAYERS.items()}


def block_of_key(key: str, family: str = "sd1") -> str | None:
    """The block that a layer belongs to, or None when it is in no Stable Diffusion UNet.

    `key` is a key of a LoRA file (kohya's diffusers or LDM style, PEFT's), a host's name of the
    layer, or a module's path; dots and underscores mean the same. `family` matters for one layer
    only: the last convolution belongs to the last block, OUT08 in SDXL and OUT11 otherwise.
    """
    return place_of_key(key, family)[0]


@lru_cache(maxsize=1 << 14)
def place_of_key(key: str, family: str) -> tuple[str | None, str]:
    """(block, element) of a layer; remembered, as every picture asks for all of them.

    The element is the layer's place inside its block, in the original code's names joined by
    underscores: `transformer_blocks_0_attn1_to_q`, `in_layers_2`, `proj_in`,
    `encoder_layers_3_mlp_fc1`...; empty for a block that is one layer. Element words (`attn1`,
    `ff`, `proj`) are looked for in it.
    """
    name = _module_name(key)
    if found := _LDM_IN.search(name):
        return _numbered("IN", int(found[1])), name[found.end() :]
    if found := _LDM_OUT.search(name):
        return _numbered("OUT", int(found[1])), name[found.end() :]
    if found := _LDM_MID.search(name) or _DIFFUSERS_MID.search(name):
        return "M00", _ldm_layer(name[found.end() :])
    if found := _DIFFUSERS_DOWN.search(name):
        level, part, index = int(found[1]), found[2], int(found[3])
        if part == "downsamplers":
            return _numbered("IN", input_block(level, 2)), "op"
        return _numbered("IN", input_block(level, index)), _ldm_layer(name[found.end() :])
    if found := _DIFFUSERS_UP.search(name):
        level, part, index = int(found[1]), found[2], int(found[3])
        if part == "upsamplers":  # sits inside the level's third block
            return _numbered("OUT", output_block(level, 2)), "conv"
        return _numbered("OUT", output_block(level, index)), _ldm_layer(name[found.end() :])
    for pattern, block in FAMILIES[family].places if family in FAMILIES else ():
        if found := pattern.search(name):
            return block.format(*map(int, found.groups())), name[found.end() :]
    if found := _TEXT_ENCODER.search(name):
        return "BASE", name[found.end() :].removeprefix("text_model_")
    # Merging tools count the embeddings to the first block and the output layers to the last.
    if _BEFORE_BLOCKS.search(name):
        return "IN00", name
    if _AFTER_BLOCKS.search(name):
        return ("OUT08" if family == "sdxl" else "OUT11"), name
    return None, name


_FILE_PREFIX = re.compile(r"^(?:lora|lycoris|oft|boft)_")
_PARAMETER = re.compile(r"\.(?:lora_\w+|lokr_\w+|hada_\w+|oft_\w+|alpha|weight|bias)(?:\..*)?$")


def _module_name(key: str) -> str:
    """The module's part of a key, with underscores for dots."""
    if _FILE_PREFIX.match(key):
        return key.partition(".")[0]
    return _PARAMETER.sub("", key).replace(".", "_")


def _ldm_layer(layer: str) -> str:
    return _RESNET_LAYERS.get(layer, layer)


def _numbered(kind: str, index: int) -> str | None:
    return f"{kind}{index:02}" if index < 12 else None
