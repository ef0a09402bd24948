"""What is made of a picture: whole, enlarged crops of upper body and face, mirrored.

A plan is made first, by the seed alone, so that a user can look at it and throw out single
pictures; then each variant is drawn.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from lib_rimo.errors import UserError
from lib_rimo.sd.size import Size
from lib_rimo.training.augment.focus import Box, find_focus
from lib_rimo.training.augment.framing import (
    WHOLE,
    OutOfFrame,
    crop_boxes,
    crop_caption,
    read_out_of_frame,
    whole_box,
)
from lib_rimo.training.data.captions import read_caption
from lib_rimo.training.data.folders import folder_at
from lib_rimo.training.data.pictures import Picture
from lib_rimo.training.data.plain_background import plain_background

MOST = 10_000
"""Pictures made of few; more would say nothing new."""


@dataclass(frozen=True)
class Variant:
    """One picture to be made: which part of which picture, and what it will be called."""

    source: Path
    framing: str
    """`whole`, `upper body` or `close-up`."""
    box: Box
    """Left, top, right, bottom in the source; outside of it is filled with its border's colour."""
    flipped: bool
    size: Size
    caption: str
    anchor: str
    """What the crop was placed by: `face` or `saliency`."""


def plan_augmentation(
    pictures: Sequence[Picture],
    count: int,
    resolution: Size,
    seed: int,
    *,
    mirror: bool = True,
    out_of_frame: OutOfFrame | None = None,
    caption_extension: str = "",
) -> list[Variant]:
    """Plan `count` pictures of `resolution` from these; the same arguments give the same plan.

    Every picture comes whole first, then its upper body, then its face; then these mirrored; then,
    if that is not enough, the crops again a little shifted. With `mirror` off nothing is mirrored,
    for a character that is not the same on both sides. Raises UserError for a count too small.
    """
    if not pictures:
        raise UserError("There is no picture to augment; put some PNG or JPEG files there.")
    if count < len(pictures):
        raise UserError(
            "{n} pictures cannot become {count}; each comes at least once, so ask for {n} or more.",
            n=len(pictures),
            count=count,
        )
    if count > MOST:
        raise UserError("{count} pictures are too many; ask for {n} at most.", count=count, n=MOST)
    out_of_frame = read_out_of_frame() if out_of_frame is None else out_of_frame
    streams = [
        _variants(picture, resolution, f"{seed} {number}", mirror, out_of_frame, caption_extension)
        for number, picture in enumerate(pictures)
    ]
    return [next(streams[number % len(streams)]) for number in range(count)]


def _variants(
    picture: Picture,
    size: Size,
    seed: str,
    mirror: bool,
    out_of_frame: OutOfFrame,
    caption_extension: str,
) -> Iterator[Variant]:
    """Yield one picture's variants without end, the most useful first."""
    rng = random.Random(seed)
    focus = find_focus(picture)
    caption = read_caption(picture.path, caption_extension)
    if caption is None:
        caption = folder_at(picture.path.parent).class_tokens
    boxes = {
        WHOLE: whole_box(picture, focus, size),
        **crop_boxes(picture, focus, size, caption),
    }
    variants = [
        Variant(
            source=picture.path,
            framing=framing,
            box=box,
            flipped=False,
            size=size,
            caption=crop_caption(caption, framing, out_of_frame),
            anchor="face" if focus.face_found else "saliency",
        )
        for framing, box in boxes.items()
    ]
    # Which of a crop and its mirror image comes first is a toss, so that both directions are
    # seen even where only the first few variants are taken.
    turned = [variant.framing != WHOLE and mirror and rng.random() < 0.5 for variant in variants]
    for second in (False, True) if mirror else (False,):
        for variant, turn in zip(variants, turned, strict=True):
            yield replace(variant, flipped=turn != second)
    while True:
        for variant in variants:
            box = _shifted(variant.box, 0.93 if variant.framing == WHOLE else 0.86, rng)
            yield replace(variant, box=box, flipped=mirror and rng.random() < 0.5)


def _shifted(box: Box, least_scale: float, rng: random.Random) -> Box:
    """Take a slightly smaller part of a box, anywhere inside it."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    scale = rng.uniform(least_scale, 0.98)
    left += rng.random() * width * (1 - scale)
    top += rng.random() * height * (1 - scale)
    return (left, top, left + width * scale, top + height * scale)


def draw_variant(picture: Picture, variant: Variant) -> Image.Image:
    """Cut the variant out of its picture: RGB, or RGBA where the picture has an alpha."""
    inside, target = _places(picture.size, variant)
    target_size = (target[2] - target[0], target[3] - target[1])
    image = _margin(picture, variant, target)
    resized = picture.rgb.resize(target_size, Image.Resampling.LANCZOS, box=inside)
    image.paste(resized, target[:2])
    if picture.alpha is not None:
        image.putalpha(_cut_mask(picture.alpha, variant))
    return ImageOps.mirror(image) if variant.flipped else image


def draw_mask(mask: Image.Image, variant: Variant) -> Image.Image:
    """Cut the variant out of its picture's mask (L): nothing of the margin is subject."""
    cut = _cut_mask(mask, variant)
    return ImageOps.mirror(cut) if variant.flipped else cut


def _cut_mask(mask: Image.Image, variant: Variant) -> Image.Image:
    inside, target = _places(mask.size, variant)
    canvas = Image.new("L", variant.size, 0)
    size = (target[2] - target[0], target[3] - target[1])
    canvas.paste(mask.resize(size, Image.Resampling.LANCZOS, box=inside), target[:2])
    return canvas


def _places(size: Size, variant: Variant) -> tuple[Box, tuple[int, int, int, int]]:
    """What of a picture of this size is seen, and where in the variant it lands."""
    left, top, right, bottom = variant.box
    inside = (max(0.0, left), max(0.0, top), min(size[0], right), min(size[1], bottom))
    scale = variant.size[0] / (right - left)
    # Whole pixels inside the target, so that no pixel is part picture and part margin.
    target = (
        round((inside[0] - left) * scale),
        round((inside[1] - top) * scale),
        round((inside[2] - left) * scale),
        round((inside[3] - top) * scale),
    )
    return inside, target


def _margin(picture: Picture, variant: Variant, target: tuple[int, int, int, int]) -> Image.Image:
    """Fill the canvas with the picture's border: its colour, or each side's where they differ."""
    pixels = np.asarray(picture.rgb)
    plain = plain_background(pixels)
    if plain is not None:
        return Image.new("RGB", variant.size, _colour(plain))
    width, height = variant.size
    image = Image.new("RGB", variant.size, _colour(np.median(pixels, axis=(0, 1))))
    for edge, area in (
        (pixels[0], (0, 0, width, target[1])),
        (pixels[-1], (0, target[3], width, height)),
        (pixels[:, 0], (0, 0, target[0], height)),
        (pixels[:, -1], (target[2], 0, width, height)),
    ):
        image.paste(_colour(np.median(edge, axis=0)), area)
    return image


def _colour(values: NDArray[Any]) -> tuple[int, int, int]:
    red, green, blue = (round(float(value)) for value in values)
    return red, green, blue
