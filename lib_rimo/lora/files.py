"""LoRA files as kohya's trainer writes them: tensors, metadata and the WebUI's hashes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lib_rimo.errors import UserError
from lib_rimo.files import file_hash, written_beside
from lib_rimo.text import printable


@dataclass(frozen=True)
class LoraFile:
    """The content of a LoRA file: tensors by name, and the metadata of its header."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def read_lora(path: str | os.PathLike[str]) -> LoraFile:
    """Read a LoRA file on the CPU; raises UserError for what is none."""
    path = Path(path)
    try:
        if not path.is_file():
            raise UserError(
                "There is no LoRA file {file}: check the name and the folder.", file=path
            )
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            tensors = {name: file.get_tensor(name) for name in names}
            return LoraFile(tensors, dict(file.metadata() or {}))
    except (SafetensorError, OSError) as error:
        raise UserError(
            "{file} is not a readable .safetensors file ({why}): get or train it again.",
            file=printable(path.name),
            why=printable(str(error)),
        ) from None


def content_hash(path: Path) -> str:
    """SHA-256 of all behind a file's header: what the WebUI takes where `sshs_model_hash` lacks.

    Empty for a file that cannot be read.
    """
    try:
        with path.open("rb") as file:
            start = 8 + int.from_bytes(file.read(8), "little")
        return file_hash(path, start)
    except (OSError, ValueError, OverflowError):
        return ""


def write_lora(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write a LoRA file, whole or not at all, with `sshs_*` hashes of what is in it."""
    described = dict(metadata) | hashes(tensors, metadata)
    with written_beside(Path(path)) as beside:
        beside.write_bytes(safetensors.torch.save(dict(tensors), described))


def hashes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, str]:
    """The two hashes by which WebUIs know a LoRA whatever the user's notes in it.

    They are of a file with the training's own `ss_*` metadata only: the SHA-256 of all behind the
    header (`sshs_model_hash`), and of 64 KiB at the first MiB, as the first WebUIs hashed models
    (`sshs_legacy_hash`, 8 digits).
    """
    own = {name: text for name, text in metadata.items() if name.startswith("ss_")}
    content = safetensors.torch.save(dict(tensors), own)
    behind_header = 8 + int.from_bytes(content[:8], "little")
    legacy = content[0x100000:0x110000]
    return {
        "sshs_model_hash": hashlib.sha256(content[behind_header:]).hexdigest(),
        "sshs_legacy_hash": hashlib.sha256(legacy).hexdigest()[:8],
    }
