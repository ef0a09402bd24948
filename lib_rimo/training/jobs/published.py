"""Which LoRAs, among those where they are used, a queue has put there itself."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from lib_rimo.files import written_beside

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
        # Copies keep their time, by which those of versions that took no notes are known.
        return found in self._read().get(_key(path), []) or any(
            _version(lora) == found
            for lora in self._folder.glob("*/*.safetensors")
            if lora.name == path.name
        )

    def note(self, path: Path, file: Path) -> None:
        """Take down that `file` is about to become `path`. Raises UserError."""
        known = self._read()
        versions = [*known.get(_key(path), []), _version(file)]
        content = json.dumps({**known, _key(path): versions[-MOST:]}, indent=1)
        with written_beside(self._file) as beside:
            beside.write_text(content, encoding="utf-8")

    def _read(self) -> dict[str, list[Any]]:
        with suppress(OSError, ValueError, RecursionError):
            content = json.loads(self._file.read_text(encoding="utf-8"))
            if isinstance(content, dict):
                return {
                    name: versions for name, versions in content.items() if type(versions) is list
                }
        return {}


def _key(path: Path) -> str:
    return str(path.absolute())


def _version(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]
