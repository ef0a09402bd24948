"""What a LoRA file's header says about it: its family, and the blocks that it has layers in."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from lib_rimo.lora.blocks import BLOCKS, block_of_key, fitting_layout

# Width of the text encoders' output, which cross-attention reads.
_TEXT_WIDTHS: dict[tuple[int, ...], str] = {(768,): "sd1", (1024,): "sd2", (2048,): "sdxl"}
_CROSS_ATTENTION = re.compile(r"attn2[._]to_[kv]\.lora_(?:down|A)\.weight$")

LONGEST_HEADER = 100_000_000  # bytes; safetensors' own limit


@dataclass(frozen=True)
class LoraFacts:
    """A LoRA's family ("sd1", "sd2" or "sdxl") and its blocks, in the order of BLOCKS."""

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
    try:
        state = path.stat()
        return _read_facts(path, state.st_mtime_ns, state.st_size)
    except (OSError, ValueError):
        return None


@lru_cache(maxsize=256)
def _read_facts(path: Path, _mtime: int, _size: int) -> LoraFacts | None:
    """As `read_facts`, once for each state of a file; raises OSError or ValueError."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length)) if length <= LONGEST_HEADER else None
    if not isinstance(header, dict):
        return None
    metadata = header.pop("__metadata__", None)
    shapes = {
        key: entry["shape"]
        for key, entry in header.items()
        if isinstance(entry, dict) and isinstance(entry.get("shape"), list)
        if all(isinstance(size, int) for size in entry["shape"])
    }
    return facts_of_header(shapes, metadata if isinstance(metadata, dict) else {})


def facts_of_header(
    shapes: Mapping[str, Sequence[int]], metadata: Mapping[str, str]
) -> LoraFacts | None:
    """What the names and shapes of a file's tensors and its metadata tell."""
    family = family_of(shapes, metadata)
    present = {block_of_key(key, family) for key in shapes}
    blocks = tuple(block for block in BLOCKS if block in present)
    return LoraFacts(family, blocks) if blocks else None


def family_of(shapes: Mapping[str, Sequence[int]], metadata: Mapping[str, str]) -> str:
    """The family that a file was made for: by its layers, by its metadata, by how it names them."""
    for key, shape in shapes.items():
        if "_te2_" in key or "text_encoder_2." in key:
            return "sdxl"
        if _CROSS_ATTENTION.search(key) and tuple(shape[-1:]) in _TEXT_WIDTHS:
            return _TEXT_WIDTHS[tuple(shape[-1:])]
    version = str(metadata.get("ss_base_model_version", ""))
    if str(metadata.get("ss_v2", "")) == "True":
        return "sd2"
    if version:
        return "sdxl" if version.startswith("sdxl") else "sd1"
    # kohya's trainer names SDXL's layers as the original code does, SD1's as diffusers.
    named_so = any("_input_blocks_" in key or "_output_blocks_" in key for key in shapes)
    return "sdxl" if named_so else "sd1"
