"""All pictures of a made set on one sheet, each with what it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from lib_rimo.training.augment.variants import Variant

_THUMBNAIL = 200
"""Pixels, the longest side on the contact sheet."""
_LABEL_HEIGHT = 30


def thumbnail(image: Image.Image) -> Image.Image:
    """A picture, small enough for the sheet."""
    small = image.copy()
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return small


def label(file: Path, variant: Variant) -> str:
    """Which picture it is, how it was cut, and of which it was made."""
    mirrored = ", mirrored" if variant.flipped else ""
    return f"{file.stem} {variant.framing}{mirrored}\n{variant.source.name}"


def contact_sheet(thumbnails: Sequence[Image.Image], labels: Sequence[str]) -> Image.Image:
    """Lay out all pictures with what they are, as near to a square as full rows allow."""
    width = max(max(image.width for image in thumbnails), 130) + 8
    height = max(image.height for image in thumbnails) + _LABEL_HEIGHT + 8
    columns = max(1, round((len(thumbnails) * height / width) ** 0.5))
    rows = -(-len(thumbnails) // columns)
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    pen = ImageDraw.Draw(sheet)
    for position, (image, label) in enumerate(zip(thumbnails, labels, strict=True)):
        x, y = position % columns * width + 4, position // columns * height + 4
        # What the loss will not count shows as grey.
        sheet.paste("lightgrey", (x, y, x + image.width, y + image.height))
        sheet.paste(image, (x, y), image if image.mode == "RGBA" else None)
        pen.multiline_text((x, y + image.height + 2), label, fill="black", spacing=1)
    return sheet
