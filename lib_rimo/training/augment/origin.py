"""What a set of made pictures was made of and for, and whether that still holds.

It stands in the set's own manifest, so that a page that is opened again, the command line and a
WebUI all know of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from lib_rimo.errors import UserError
from lib_rimo.held_folders import open_file
from lib_rimo.messages import Message
from lib_rimo.sd.native import Native
from lib_rimo.sd.size import Size
from lib_rimo.text import parse_json
from lib_rimo.training.data.captions import read_caption
from lib_rimo.training.data.folders import find_folders
from lib_rimo.training.data.masks import mask_file
from lib_rimo.training.data.pictures import find_pictures

MANIFEST = "augmentation.json"
MADE_BY = "Rimo augment"


@dataclass(frozen=True)
class Source:
    """One picture that others were made of, as it was then."""

    file: str
    """Its path inside the folder, with forward slashes."""
    digest: str
    caption: str
    mask: str = ""
    """Its mask file's digest; empty where there is none."""


@dataclass(frozen=True)
class Origin:
    """The folder that pictures were made of, and the base model that they were made for."""

    folder: str
    sources: tuple[Source, ...]
    caption_extension: str = ""
    base: str = ""
    """The base model's name; empty where none was given."""
    standing: Size | None = None
    """The base model's own size for standing pictures."""

    def as_json(self) -> dict[str, Any]:
        """For the manifest."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Any) -> Origin | None:
        """What `as_json` gave; None for anything else, as of sets from before there was one."""
        try:
            width_height = content["standing"]
            return cls(
                str(content["folder"]),
                tuple(Source(**source) for source in content["sources"]),
                str(content["caption_extension"]),
                str(content["base"]),
                None if width_height is None else (int(width_height[0]), int(width_height[1])),
            )
        except (KeyError, TypeError, ValueError, IndexError):
            return None


def origin_of(
    folder: Path, caption_extension: str = "", base: str = "", native: Native | None = None
) -> Origin:
    """The origin of what is now made of a folder's pictures, for a base model."""
    sources = tuple(_look(folder, caption_extension))
    standing = native.standing if native else None
    return Origin(str(folder.resolve()), sources, caption_extension, base, standing)


def is_made(folder: Path) -> bool:
    """Whether a folder's pictures were made of others."""
    try:
        manifest = read_manifest(folder)
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and manifest.get("made_by") == MADE_BY


def read_manifest(folder: Path) -> Any:
    """What stands beside made pictures; raises OSError and ValueError."""
    with open_file(folder / MANIFEST) as file:
        return parse_json(file.read().decode("utf-8"))


def source_of(folder: Path) -> str:
    """The folder that a set was made of; empty for other sets, and where it is gone."""
    origin = Origin.from_json(read_manifest(folder).get("origin")) if is_made(folder) else None
    return origin.folder if origin and Path(origin.folder).is_dir() else ""


def crops_in(folder: Path) -> set[Path]:
    """Which pictures of a made set are crops; none in other sets."""
    made = read_manifest(folder).get("pictures") if is_made(folder) else None
    try:
        return {folder / entry["file"] for entry in made or () if entry["framing"] != "whole"}
    except (KeyError, TypeError):
        return set()


def digests(folder: Path) -> dict[str, str]:
    """Pictures, masks and captions of a made set, each with what is in it."""
    return {
        file.relative_to(folder).as_posix(): _digest_of(file)
        for file in folder.glob("*/*")
        if file.suffix in (".png", ".txt")
    }


def edited(folder: Path) -> set[str]:
    """What of a made set was changed, added or thrown out since; all of it where that is unknown.

    Raises OSError and ValueError for what is no made set.
    """
    written = read_manifest(folder).get("written")
    before = (
        {(file, str(was)) for file, was in written.items()} if isinstance(written, dict) else set()
    )
    return {file for file, _ in before ^ set(digests(folder).items())}


def staleness(folder: Path, base: str, native: Native | None) -> list[Message]:
    """Why made pictures would be made otherwise today, for this base model.

    Empty where they would not, and for folders of other pictures. `native` is None while no base
    model is chosen. Of a source that is gone nothing is said: it may have been moved.
    """
    if not is_made(folder):
        return []
    manifest = read_manifest(folder)
    origin = Origin.from_json(manifest.get("origin"))
    pictures = manifest.get("pictures")
    if origin is None or not pictures:
        return []
    width, height = pictures[0]["size"]
    changes = _changes_of_base(origin, (width, height), base, native)
    return [*changes, *_changes_of_sources(origin)]


def _changes_of_base(
    origin: Origin, size: Size, base: str, native: Native | None
) -> Iterable[Message]:
    if native is None:
        return
    if origin.standing is not None:
        differs = origin.standing != native.standing
    else:  # made for no model in particular: an odd size is fine, another order of size is not
        wanted = native.standing[0] * native.standing[1]
        differs = not 0.5 < size[0] * size[1] / wanted < 2
    if differs:
        yield Message(
            "The made pictures are {size}, and {base} wants {wanted}: make them again.",
            level="warning",
            about="train_data_dir",
            size=_text(size),
            base=base,
            wanted=_text(native.standing),
        )


def _changes_of_sources(origin: Origin) -> Iterable[Message]:
    folder = Path(origin.folder)
    try:
        today = {source.file: source for source in _look(folder, origin.caption_extension)}
    except (UserError, OSError):
        return
    before = {source.file: source for source in origin.sources}
    names = sorted(today.keys() | before.keys())
    changed = [name for name in names if today.get(name) != before.get(name)]
    if changed:
        yield Message(
            "Your pictures, captions or masks have changed since others were made of them "
            "({names}): "
            "make them again.",
            level="warning",
            about="train_data_dir",
            names=changed if len(changed) <= 3 else [*changed[:3], "…"],
        )


def _look(folder: Path, caption_extension: str) -> Iterable[Source]:
    for inside in find_folders(folder):
        for picture in find_pictures(inside.path):
            mask = mask_file(picture)
            yield Source(
                picture.relative_to(folder).as_posix(),
                _digest_of(picture),
                read_caption(picture, caption_extension) or "",
                _digest_of(mask) if mask else "",
            )


def _digest_of(file: Path) -> str:
    found = file.stat()
    return _digest(file, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=4096)
def _digest(file: Path, _time: int, _size: int) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def _text(size: Size) -> str:
    return f"{size[0]}×{size[1]}"
