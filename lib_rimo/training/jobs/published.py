"""Which LoRAs, among those where they are used, a queue has put there itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lib_rimo.files import written_beside
from lib_rimo.sd.file_header import read_header
from lib_rimo.text import parse_json

MOST = 2
"""Versions of a file that count as ours: the newest, and the one before, until it is replaced."""


class Published:
    """A note in a queue's folder of what was copied out of it, by size and time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "published.json"

    def owns(self, path: Path) -> bool:
        """Whether a file may be replaced: there is none, or it is as it was published."""
        try:
            found = _version(path)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        known, is_whole = self._read()
        if found in known.get(_key(path), []):
            return True
        own = [lora for lora in self._folder.glob("*/*.safetensors") if lora.name == path.name]
        # Copies keep their time, by which those of versions that took no notes are known.
        if any(_version(lora) == found for lora in own):
            return True
        was_noted = is_whole or _key(path) in known
        return not was_noted and any(_is_of_one_training(lora, path) for lora in own)

    def note(self, path: Path, file: Path) -> None:
        """Take down that `file` is about to become `path`. Raises UserError."""
        known, is_whole = self._read()
        versions = [*known.get(_key(path), []), _version(file)]
        content = json.dumps(
            {**known, _key(path): versions[-MOST:], **({} if is_whole else {_LOST: []})}, indent=1
        )
        with written_beside(self._file) as beside:
            beside.write_text(content, encoding="utf-8")

    def _read(self) -> tuple[dict[str, list[Any]], bool]:
        """The notes by path, and whether none of them was ever lost to damage."""
        try:
            content = parse_json(self._file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}, True
        except (OSError, ValueError):
            return {}, False
        if not isinstance(content, dict):
            return {}, False
        known = {name: versions for name, versions in content.items() if type(versions) is list}
        return known, known == content and _LOST not in known


_LOST = ""
"""Noted where notes were lost: what is not noted may be ours then, and is known by its content."""


# What differs between two saves of one training.
_CHANGING = {
    *("ss_session_id", "ss_training_started_at", "ss_training_finished_at"),
    *("ss_steps", "ss_epoch", "ss_loss", "ss_rimo_version"),
}


def _is_of_one_training(first: Path, second: Path) -> bool:
    """Whether two LoRA files say that the same training has written them."""
    trainings = []
    for path in (first, second):
        try:
            metadata = read_header(path).metadata
        except (OSError, ValueError):
            return False
        names = {name for name in metadata if name.startswith("ss_")} - _CHANGING
        trainings.append({name: metadata[name] for name in names})
    return bool(trainings[0]) and trainings[0] == trainings[1]


def _key(path: Path) -> str:
    return str(path.absolute())


def _version(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]
