"""Masks of the subject: which part of a picture is the character, and which is behind it.

One home for all that asks: the loss counts only or mostly the subject, crops are placed by it, and
it is what can be cut out and put in front of another background.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lib_rimo.errors import UserError
from lib_rimo.messages import Message
from lib_rimo.training.data.folders import MASK_FOLDER
from lib_rimo.training.data.image_files import SUFFIXES, open_image
from lib_rimo.training.data.pictures import MASK_ENDING, Picture
from lib_rimo.training.data.plain_background import plain_background

_TOLERANCE = 12
"""Of 255, in every channel: what hangs together with the edge and differs by less is background.
JPEG's noise stays below it; the whites of skin, hair and clothes on a white ground do not hang
together with the edge, for drawn outlines part them."""
_RIM = 2
"""Pixels on which an outline was smoothed into the background."""
_SPECK = 1e-4
"""Of the picture: what stands free and is smaller is dirt, not an ornament."""

# A mask outside these shares of the picture is more likely wrong. So is one that touches three
# edges, unless it is the lower three, as in a picture of the upper body.
_LEAST, _MOST = 0.02, 0.95
_TOUCHED = 0.02  # of an edge's length

Source = Literal["alpha", "file", "plain background", "model"]
Segment = Callable[[Image.Image], Image.Image]
"""A segmentation model: a picture (RGB) to its subject's mask (L, as large)."""


@dataclass(frozen=True)
class Mask:
    """The subject of one picture."""

    image: Image.Image
    """Mode L, as large as the picture: 255 where the subject covers it all, 0 where nothing."""
    source: Source


class NoMaskError(Exception):
    """Why a picture has no mask, in a few words that can follow its name."""

    def __init__(self, template: str, **values: Any) -> None:
        self.reason = Message(template, level="warning", **values)
        super().__init__(self.reason.text())


def find_mask(
    picture: Picture,
    *,
    folder: Path | None = None,
    files: bool = True,
    guess: bool = True,
    segment: Segment | None = None,
) -> Mask:
    """Find the subject: by alpha, a file, a plain background or a model, in this order.

    `folder` is kohya's conditioning_data_dir. With `files` off masks that lie ready are passed
    over, since they are to be made anew. With `guess` off only what the user made counts:
    alpha and files. Raises NoMaskError where there is none to be trusted, UserError for a file
    that is no mask.
    """
    if picture.alpha is not None:
        return Mask(picture.alpha, "alpha")
    file = mask_file(picture.path, folder) if files else None
    if file is not None:
        return Mask(read_mask(file, picture.size), "file")
    if not guess:
        raise NoMaskError("has neither an alpha nor a mask file")
    pixels = np.asarray(picture.rgb)
    background = plain_background(pixels)
    if background is not None:
        return Mask(_trusted(subject_on_plain(pixels, background)), "plain background")
    if segment is None:
        raise NoMaskError(
            "has a detailed background, in which Find masks, or `python -m lib_rimo mask`, "
            "finds the character"
        )
    return Mask(_trusted(np.asarray(segment(picture.rgb).convert("L"))), "model")


def mask_file(picture: Path, folder: Path | None = None) -> Path | None:
    """The mask that lies ready for a picture, if there is one.

    In `folder`, kohya's conditioning_data_dir, under the picture's name with any ending; else
    beside the picture as OneTrainer has it (1-masklabel.png); else where augmenting puts it.
    """
    if folder is not None:
        for suffix in sorted(SUFFIXES, key=lambda suffix: suffix != ".png"):
            file = folder / f"{picture.stem}{suffix}"
            if file.is_file():
                return file
    for file in (
        mask_beside(picture),
        picture.parent.parent / MASK_FOLDER / f"{picture.stem}.png",
    ):
        if file.is_file() and file != picture:
            return file
    return None


def mask_beside(picture: Path) -> Path:
    """Where a mask that somebody makes by hand is put: beside the picture, as OneTrainer has it."""
    return picture.with_name(f"{picture.stem}{MASK_ENDING}.png")


def read_mask(file: Path, size: tuple[int, int]) -> Image.Image:
    """Read a mask as large as its picture: white counts. Raises UserError.

    Of coloured ones the red channel counts, as in kohya's trainer.
    """
    try:
        upright = open_image(file)
    except UserError:
        raise UserError("The mask {file} cannot be read: mend or delete it.", file=file) from None
    return as_mask(upright, size, file)


def as_mask(upright: Image.Image, size: tuple[int, int], file: object) -> Image.Image:
    """A picture as the mask (L) of a picture of this size; `file` names it in a UserError."""
    mask = upright.getchannel(0) if upright.mode.startswith("RGB") else upright.convert("L")
    if abs(mask.width / mask.height - size[0] / size[1]) > 0.02 * size[0] / size[1]:
        raise UserError(
            "The mask {file} is {width}x{height}, its picture {across}x{down}: give it the "
            "picture's shape.",
            file=file,
            width=mask.width,
            height=mask.height,
            across=size[0],
            down=size[1],
        )
    return mask if mask.size == size else mask.resize(size, Image.Resampling.BILINEAR)


def subject_on_plain(pixels: NDArray[np.uint8], background: NDArray[np.int16]) -> NDArray[np.uint8]:
    """What does not hang together with the edge in the edge's colour: (h, w) in 0..255.

    Colour alone would take white hair and faces for the ground that they stand on. Where an
    outline has a small gap, the ground does not leak in. What it encloses belongs to the subject.
    """
    difference = np.abs(pixels.astype(np.int16) - background).max(axis=2)
    near = (difference <= _TOLERANCE).astype(np.uint8)
    radius = max(1, round(min(near.shape) / 400))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    wide = cv2.erode(near, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=1)
    _, labels = cv2.connectedComponents(wide, connectivity=4)
    edges = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    reached = np.isin(labels, np.unique(edges[edges > 0])).astype(np.uint8)
    ground = (cv2.dilate(reached, kernel) > 0) & (near > 0)
    subject = _without_specks((~ground).astype(np.uint8))
    return _with_soft_rim(subject, difference)


def _without_specks(subject: NDArray[np.uint8]) -> NDArray[np.uint8]:
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(subject, connectivity=8)
    large = statistics[:, cv2.CC_STAT_AREA] >= _SPECK * subject.size
    large[0] = False  # the ground
    return np.asarray(large[labels], np.uint8)


def _with_soft_rim(subject: NDArray[np.uint8], difference: NDArray[np.int16]) -> NDArray[np.uint8]:
    """Let pixels on the outline count by how far their colour is from the ground's to its own."""
    own = np.asarray(difference * subject, np.uint8)  # 0..255
    around = widened(own, _RIM).astype(np.float32)
    inner = cv2.erode(subject, np.ones((3, 3), np.uint8), iterations=_RIM - 1, borderValue=1)
    # Where subject and ground are alike there is no telling; it all counts.
    is_clear = around > 4 * _TOLERANCE
    share = np.where(is_clear & (inner == 0), own / np.maximum(around, 1), 1.0)
    return np.asarray(np.round(255 * subject * np.minimum(share, 1)), np.uint8)


def widened(mask: NDArray[np.uint8], pixels: int) -> NDArray[np.uint8]:
    """A mask, (h, w), that reaches so many pixels further in each direction."""
    return np.asarray(cv2.dilate(mask, np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)))


def _trusted(mask: NDArray[np.uint8]) -> Image.Image:
    """The mask as a picture; NoMaskError for one that looks wrong."""
    look_over(mask)
    return Image.fromarray(mask)


def look_over(mask: NDArray[np.uint8]) -> None:
    """Raise NoMaskError for a mask, (h, w) in 0..255, that is more likely wrong than right."""
    covered = float(mask.mean()) / 255
    if covered < _LEAST:
        raise NoMaskError(
            "has a subject that would cover only {share} of it", share=f"{covered:.1%}"
        )
    if covered > _MOST:
        raise NoMaskError("has a subject that would cover {share} of it", share=f"{covered:.0%}")
    edges = (mask[0], mask[-1], mask[:, 0], mask[:, -1])
    touched = [float((edge > 127).mean()) > _TOUCHED for edge in edges]
    if sum(touched) >= 3 and touched[0]:
        raise NoMaskError("has a subject that would touch {n} of its edges", n=sum(touched))


def cut_out(picture: Picture, mask: Image.Image) -> Image.Image:
    """The subject alone: RGBA, its rim freed of the background's colour where that is plain.

    What lies under a half covered pixel is part subject, part ground; on another ground the old
    one would show as a halo.
    """
    pixels = np.asarray(picture.rgb)
    alpha = np.asarray(mask, np.float32)[..., None] / 255
    colour = plain_background(pixels)
    if picture.alpha is not None:
        colour = np.full(3, 255, np.int16)  # what is transparent was laid over white
    if colour is not None:
        freed = (pixels - (1 - alpha) * colour) / np.maximum(alpha, 1 / 255)
        pixels = np.asarray(np.clip(np.where(alpha > 0, freed, pixels), 0, 255), np.uint8)
    image = Image.fromarray(pixels)
    image.putalpha(mask)
    return image
