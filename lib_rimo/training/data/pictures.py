"""Reading pictures: upright, in RGB, with the alpha apart - or left out with the reason."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageChops

from lib_rimo.errors import UserError
from lib_rimo.messages import Message
from lib_rimo.training.data.image_files import (
    SUFFIXES,
    UnusablePictureError,
    decode,
    read_file,
)

MASK_ENDING = "-masklabel"
"""1-masklabel.png is, as in OneTrainer, no picture but the mask of 1.png."""
SHORTEST_SIDE = 64
"""Pixels. What is smaller holds less than one cell of the smallest bucket."""

# Two pictures whose thumbnails differ nowhere by more than this (of 255) are one picture, saved
# twice: JPEG's loss and resizing stay below it, another facial expression does not.
_THUMBNAIL = (32, 32)
_SAME_WITHIN = 6


@dataclass(frozen=True)
class Picture:
    """One picture as it is meant to be seen."""

    path: Path
    rgb: Image.Image
    """Mode RGB, upright (EXIF rotation applied), what is transparent laid over white."""
    alpha: Image.Image | None
    """Mode L, as large as `rgb`; none where the picture is opaque everywhere."""
    digest: str
    """SHA-256 of the file, in hex."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.rgb.size


def find_pictures(folder: Path) -> list[Path]:
    """List the picture files of one folder (not of its subfolders), 2.png before 10.png."""
    files = (
        file
        for file in folder.iterdir()
        if file.suffix.lower() in SUFFIXES
        and not file.name.startswith(".")
        and not file.stem.endswith(MASK_ENDING)
        and file.is_file()
    )
    return sorted(files, key=lambda file: _natural(file.name))


def read_picture(path: Path) -> Picture:
    """Read one picture whole.

    Raises UnusablePictureError for a file that is no picture, broken, animated, tiny or so large
    that reading it could exhaust the memory.
    """
    content = read_file(path)
    upright = decode(content)
    if min(upright.size) < SHORTEST_SIDE:
        raise UnusablePictureError(
            "is tiny ({width}x{height}; {least} pixels are the least)",
            width=upright.width,
            height=upright.height,
            least=SHORTEST_SIDE,
        )
    rgb, alpha = _split_alpha(upright)
    if all(low == high for low, high in rgb.getextrema()):  # type: ignore[misc]
        raise UnusablePictureError("is empty: all of one colour")
    return Picture(path, rgb, alpha, hashlib.sha256(content).hexdigest())


def read_pictures(paths: Iterable[Path]) -> tuple[list[Picture], list[tuple[Path, Message]]]:
    """Read what can be used, once: the pictures, and what was left out with the reason."""
    pictures: list[Picture] = []
    thumbnails: list[Image.Image] = []
    left_out: list[tuple[Path, Message]] = []
    for path in paths:
        try:
            picture = read_picture(path)
        except UnusablePictureError as error:
            left_out.append((path, error.reason))
            continue
        thumbnail = picture.rgb.resize(_THUMBNAIL, Image.Resampling.BOX)
        twin = next(
            (
                known.path
                for known, its_thumbnail in zip(pictures, thumbnails, strict=True)
                if _same_shape(known, picture) and _same(its_thumbnail, thumbnail)
            ),
            None,
        )
        if twin is not None:
            same = Message("is the same picture as {other}", other=twin.name, level="warning")
            left_out.append((path, same))
            continue
        pictures.append(picture)
        thumbnails.append(thumbnail)
    return pictures, left_out


def tell_left_out(left_out: Iterable[tuple[Path, Message]]) -> Iterator[Message]:
    """One warning for each picture that was left out."""
    for path, reason in left_out:
        yield Message(
            "Left out: {file} {reason}.",
            about=path.name,
            level="warning",
            file=path.name,
            reason=reason,
        )


def none_usable(folder: object, path: Path, reason: Message) -> UserError:
    """The refusal of a folder, or folders, with one of its unusable pictures as the example."""
    return UserError(
        "None of the pictures in {folder} can be used: {file} {reason}.",
        folder=folder,
        file=path.name,
        reason=reason,
        about=path.name,
    )


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Return RGB laid over white, and the alpha where anything is not opaque."""
    if image.mode.startswith("I"):  # 16-bit grey: Pillow would clip instead of scaling.
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if not (image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info):
        return image.convert("RGB"), None
    rgba = image.convert("RGBA")
    alpha = rgba.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return rgba.convert("RGB"), None
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB"), alpha


def _same_shape(one: Picture, other: Picture) -> bool:
    return abs(one.size[0] / one.size[1] - other.size[0] / other.size[1]) < 0.01


def _same(one: Image.Image, other: Image.Image) -> bool:
    bounds = ImageChops.difference(one, other).getextrema()
    return max(high for _, high in bounds) <= _SAME_WITHIN  # type: ignore[misc]


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Sort digits as numbers, so that 10 follows 9."""
    parts = re.findall(r"\d+|\D+", name.lower())
    return [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]
