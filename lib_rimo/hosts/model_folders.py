"""Folders of base models that the user has named, remembered in Rimo's own folder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from lib_rimo.errors import UserError
from lib_rimo.files import written_beside
from lib_rimo.text import parse_json

FILE = "model_folders.json"


def remembered_folders(home: Path) -> list[Path]:
    """The folders that were named, in that order; none where the file is missing or damaged."""
    try:
        names = parse_json((home / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    if not isinstance(names, list):
        return []
    return [Path(name) for name in names if isinstance(name, str) and name]


def remember_folder(home: Path, folder: Path) -> None:
    """Look for base models in this folder from now on. Raises UserError where there are none."""
    try:
        is_folder = folder.is_dir()
    except OSError:  # a name that no folder can have
        is_folder = False
    if not is_folder:
        raise UserError("There is no folder {folder}: check its name.", folder=folder)
    if not any(models_in([folder])):
        raise UserError("There is no .safetensors file in {folder} or below it.", folder=folder)
    folders = remembered_folders(home)
    if folder in folders:
        return
    with written_beside(home / FILE) as beside:
        names = [str(known) for known in [*folders, folder]]
        beside.write_text(json.dumps(names, indent=1), encoding="utf-8")


def models_in(places: Iterable[Path]) -> Iterable[Path]:
    """The models in folders, and files that are named themselves, as far as they are there."""
    for place in places:
        try:
            if place.is_dir():
                yield from sorted(place.rglob("*.safetensors"))
            elif place.is_file():
                yield place
        except OSError:  # a name that no file can have, a disk that is gone
            continue
