"""What a `.safetensors` file says of its tensors before them; nothing here needs PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib_rimo.text import parse_json

LONGEST_HEADER = 100_000_000  # bytes; safetensors' own limit

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class FileHeader:
    """The shapes of a file's tensors by their keys, and its metadata."""

    shapes: dict[str, tuple[int, ...]]
    metadata: dict[str, str]


def read_header(path: Path) -> FileHeader:
    """Read a file's header alone: the tensors stay on the disk.

    Entries that are no tensors are passed over. Raises OSError for what cannot be opened and
    ValueError for what is no `.safetensors` file.
    """
    with path.open("rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > LONGEST_HEADER:
            raise ValueError(f"{path.name} does not begin as a .safetensors file")
        content: Any = parse_json(file.read(length))
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} has a header that lists no tensors")
    metadata = content.pop("__metadata__", None)
    return FileHeader(
        {key: shape for key, entry in content.items() if (shape := _shape(entry)) is not None},
        {key: text for key, text in metadata.items() if isinstance(text, str)}
        if isinstance(metadata, dict)
        else {},
    )


def _shape(entry: Any) -> tuple[int, ...] | None:
    shape = entry.get("shape") if isinstance(entry, dict) else None
    if not isinstance(shape, list) or not all(type(side) is int and side >= 0 for side in shape):
        return None
    return tuple(shape)
