"""Folders of training pictures: plain ones, and kohya's `10_name`."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib_rimo.errors import UserError
from lib_rimo.messages import Message
from lib_rimo.training.data.pictures import find_pictures

CONTACT_SHEET = "contact_sheet.png"
"""What augmenting puts beside its folder of pictures, to be looked at, not trained on."""

MASK_FOLDER = "masks"
"""Beside a numbered folder of pictures: where augmenting puts the masks of what it makes. Inside of
it kohya's trainer would take them for pictures; from there it takes them as conditioning_data_dir.
"""

MOST_FOLDERS = 1000
"""That are looked into for pictures which are not used: somebody may give a whole disk."""

_REPEATS = re.compile(r"(\d+)_(.*)")


@dataclass(frozen=True)
class Folder:
    """One folder of pictures, each seen `repeats` times an epoch."""

    path: Path
    repeats: int
    class_tokens: str
    """The caption of a picture that has none: `name` of `10_name`, nothing in a plain folder."""
    is_regularisation: bool = False
    own: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """Options that count for this folder only, of a dataset_config."""


def folder_at(path: Path, is_regularisation: bool = False) -> Folder:
    """Read repeats and class tokens off a folder's name."""
    named = _REPEATS.fullmatch(path.resolve().name)
    repeats, class_tokens = (int(named[1]), named[2].strip()) if named else (1, "")
    return Folder(path, repeats, class_tokens, is_regularisation)


def find_folders(root: Path, is_regularisation: bool = False) -> list[Folder]:
    """Find the folders of pictures in `root`: kohya's `10_name`, else `root` itself.

    Raises UserError where there is no picture at all.
    """
    option = "reg_data_dir" if is_regularisation else "train_data_dir"
    if not root.is_dir():
        raise UserError(
            "There is no folder {folder}; give the folder that holds the pictures.",
            folder=root,
            about=option,
        )
    named = [
        folder_at(path, is_regularisation)
        for path in sorted(root.iterdir())
        if path.is_dir() and _REPEATS.fullmatch(path.name)
    ]
    # As in kohya's trainer 0_name is not trained on; a handy way to set pictures aside.
    found = [folder for folder in named if folder.repeats and find_pictures(folder.path)]
    if found:
        return found
    if not find_pictures(root):
        deeper = next(_folders_within(root), None)
        if deeper is not None and not _is_set_aside(deeper[0]):
            raise UserError(
                "There are no pictures in {folder} itself, but in {deeper}: give that folder, or "
                "move them.",
                folder=root,
                deeper=deeper[0],
                about=option,
            )
        raise UserError(
            "There are no pictures in {folder}; put them there, or into folders in it named like "
            "10_name.",
            folder=root,
            about=option,
        )
    return [folder_at(root, is_regularisation)]


def unused_folders(root: Path, used: list[Folder]) -> list[Message]:
    """Say what in `root` holds pictures that are not used, so that nothing goes unnoticed."""
    paths = {folder.path for folder in used}
    messages = []
    beside = [path for path in find_pictures(root) if path.name != CONTACT_SHEET]
    if root not in paths and (count := len(beside)):
        messages.append(
            Message(
                "Not used: pictures beside the numbered folders in {folder} ({n}).",
                level="warning",
                folder=root,
                n=count,
            )
        )
    for path, count in _folders_within(root):
        if path in paths or _is_set_aside(path) or path == root / MASK_FOLDER:
            continue
        inside = next((folder for folder in used if folder.path in path.parents), None)
        name = path.relative_to(root).as_posix()
        if inside is None and path.parent == root:
            messages.append(
                Message(
                    "Not used: pictures in {folder} ({n}); to use them, rename the folder to "
                    "1_{folder}.",
                    level="warning",
                    folder=name,
                    n=count,
                )
            )
        else:
            messages.append(
                Message(
                    "Not used: pictures in {folder} ({n}); to use them, move them into {into}.",
                    level="warning",
                    folder=name,
                    n=count,
                    into=inside.path.name if inside else root.name,
                )
            )
    return messages


def _is_set_aside(path: Path) -> bool:
    """Whether a folder is 0_name, by which its owner says that it is not to be used."""
    named = _REPEATS.fullmatch(path.name)
    return named is not None and not int(named[1])


def _folders_within(root: Path) -> Iterator[tuple[Path, int]]:
    """The folders in `root`, however deep, that hold pictures, and how many; no hidden ones."""
    walk = itertools.islice(os.walk(root), MOST_FOLDERS)  # into no link: it may lead back
    for place, names, _ in walk:
        names[:] = sorted(name for name in names if not name.startswith("."))
        path = Path(place)
        if path != root and (count := len(find_pictures(path))):
            yield path, count
