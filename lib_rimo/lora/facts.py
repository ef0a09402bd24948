"""What a LoRA file's header says about it: its family, and the blocks that it has layers in."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from lib_rimo.lora.blocks import (
    ALL_BLOCKS,
    FAMILIES,
    FAMILY_LAYOUTS,
    UNET_FAMILIES,
    block_of_key,
    fitting_layout,
)
from lib_rimo.lora.naming import read_tensor_name
from lib_rimo.sd.file_header import read_header
from lib_rimo.text import printable


@dataclass(frozen=True)
class LoraFacts:
    """A LoRA's family (a name in FAMILIES) and its blocks, in the order of ALL_BLOCKS."""

    family: str
    blocks: tuple[str, ...]

    @property
    def layout(self) -> int:
        """The shortest vector that can set every block: 12, 17, 20 or 26 values."""
        return fitting_layout(self.blocks, self.family)


def read_facts(path: Path) -> LoraFacts | None:
    """Read a `.safetensors` file's header; None for a file that is no Stable Diffusion LoRA.

    The tensors stay on the disk, and a file that cannot be read is left as it is.
    """
    facts = _try_to_read(path)
    return facts if isinstance(facts, LoraFacts) else None


def read_foreign_model(path: Path) -> str | None:
    """The model that a LoRA file was made for where that is no Stable Diffusion; else None."""
    facts = _try_to_read(path)
    return facts if isinstance(facts, str) else None


def _try_to_read(path: Path) -> LoraFacts | str | None:
    try:
        state = path.stat()
        return _read_facts(path, state.st_mtime_ns, state.st_size)
    except (OSError, ValueError):
        return None


@lru_cache(maxsize=256)
def _read_facts(path: Path, _mtime: int, _size: int) -> LoraFacts | str | None:
    """A LoRA's facts or a foreign model's name, read once for each state of a file."""
    header = read_header(path)
    family = family_of(header.shapes, header.metadata)
    facts = facts_of_header(header.shapes, header.metadata)
    return family if facts is None and family not in UNET_FAMILIES else facts


def facts_of_header(
    shapes: Mapping[str, Sequence[int]], metadata: Mapping[str, str]
) -> LoraFacts | None:
    """What the names and shapes of a file's tensors and its metadata tell."""
    family = family_of(shapes, metadata)
    if family not in FAMILY_LAYOUTS:
        return None
    present = {block_of_key(read_tensor_name(name).key, family) for name in shapes}
    own = present.intersection(FAMILIES[family].whole)
    blocks = tuple(block for block in ALL_BLOCKS if block in own)
    return LoraFacts(family, blocks) if blocks else None


# What kohya's trainer's metadata and Stability's ModelSpec call the models that are trained on.
BASE_VERSIONS = {"sd1": "sd_v1", "sd2": "sd_v2", "sdxl": "sdxl_base_v1-0"}
ARCHITECTURES = {
    "sd1": "stable-diffusion-v1/lora",
    "sd2": "stable-diffusion-v2-768-v/lora",
    "sdxl": "stable-diffusion-xl-v1-base/lora",
}

# -- families -----------------------------------------------------------------------------------

# Width of the text encoders' output, which cross-attention reads.
_TEXT_WIDTHS = {768: "sd1", 1024: "sd2", 2048: "sdxl"}
_CROSS_ATTENTION = re.compile(r"_attn2_to_[kv]$")
# The tensors whose last dimension is a layer's inputs, and pairs of which it is the product.
_INPUTS_IN = ("lora_down.weight", "diff", "hada_w1_b", "a2.weight")
_INPUTS_PRODUCT = (("lokr_w1", "lokr_w1_b"), ("lokr_w2", "lokr_w2_b"))

# Layers that only one family has. SDXL's UNet is a level shorter and its transformers are deeper.
_ONLY_IN = (
    ("sdxl", re.compile(r"_te2_|_(?:blocks|block)_\w*transformer_blocks_[1-9]|_(?:add|label)_emb")),
    ("sd1", re.compile(r"_(?:down|up)_blocks_3_|_input_blocks_(?:1_1|2_1|9|10|11)(?:_|$)")),
    ("sd1", re.compile(r"_down_blocks_0_attentions_|_output_blocks_(?:9|10|11)_")),
)
# Layers of models that are no Stable Diffusion UNet, as kohya's trainer and diffusers name them.
_FOREIGN = (
    ("Flux", re.compile(r"(?:^|_)(?:double_blocks|single_blocks|single_transformer_blocks)_\d")),
    ("SD3", re.compile(r"(?:^|_)(?:joint_blocks|context_block)_|_attn_add_[kqv]_proj")),
)
# What the trainers' metadata call models, by how the words begin.
_MODEL_NAMES = (
    ("sdxl", ("sdxl", "stable-diffusion-xl")),
    ("sd2", ("sd_v2", "stable-diffusion-v2")),
    ("sd1", ("sd_v1", "sd1", "stable-diffusion-v1")),
    ("SD3", ("sd3", "stable-diffusion-3", "stable-diffusion-v3")),
    ("Flux", ("flux",)),
    ("Chroma", ("chroma",)),
)


def family_of(shapes: Mapping[str, Sequence[int]], metadata: Mapping[str, str]) -> str:
    """The model that a file was made for: by its layers, its metadata, and how it names them.

    "sd1", "sd2" or "sdxl", or the name of a model that is none of them. `shapes` are by the
    tensors' names in the file.
    """
    parts: dict[str, dict[str, Sequence[int]]] = {}
    for name, shape in shapes.items():
        key, part = read_tensor_name(name)
        parts.setdefault(key, {})[part] = shape
    for family, layers in (*_FOREIGN, *_ONLY_IN[:1]):
        if any(layers.search(key) for key in parts):
            return family
    for key, layer in parts.items():
        if _CROSS_ATTENTION.search(key) and _inputs(layer) in _TEXT_WIDTHS:
            return _TEXT_WIDTHS[_inputs(layer)]
    told = _family_in(metadata)
    if told is not None:
        return told
    for family, layers in _ONLY_IN:
        if any(layers.search(key) for key in parts):
            return family
    # kohya's trainer names SDXL's layers as the original code does, SD1's as diffusers.
    named_so = any("_input_blocks_" in key or "_output_blocks_" in key for key in parts)
    return "sdxl" if named_so else "sd1"


def _inputs(layer: Mapping[str, Sequence[int]]) -> int:
    """How many inputs a linear layer has, by the shapes of what changes it; 0 for unknown."""
    for part in _INPUTS_IN:
        if layer.get(part):
            return layer[part][1] if len(layer[part]) > 1 else 0
    factors = [
        next((layer[part][-1] for part in either if layer.get(part)), 0)
        for either in _INPUTS_PRODUCT
    ]
    return factors[0] * factors[1]


def _family_in(metadata: Mapping[str, str]) -> str | None:
    """The family that a file's metadata tell, or another model's name; None where they tell none.

    `ss_*` is kohya's trainer's, `modelspec.architecture` that of Stability's ModelSpec.
    """
    version = str(metadata.get("ss_base_model_version", ""))
    architecture = str(metadata.get("modelspec.architecture", ""))
    if str(metadata.get("ss_v2", "")) == "True":
        return "sd2"
    for text in (version, architecture):
        for family, beginnings in _MODEL_NAMES:
            if text.lower().startswith(beginnings):
                return family
    other = version or architecture.partition("/")[0]
    return printable(other, 40) or None
