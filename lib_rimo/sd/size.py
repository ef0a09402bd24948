"""Sizes of pictures: as text, and in cells of the latents. Nothing here needs PyTorch."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lib_rimo.errors import UserError

LATENT_PIXELS = 8
"""Pixels along the side of one latent cell."""

Size = tuple[int, int]
"""Width and height in pixels."""


def read_size(text: str) -> Size | None:
    """Read `448,704`, `448x704` or, for a square, `512`; None for anything else."""
    sides = [part.strip() for part in re.split(r"[,xX×*]", text)]
    if len(sides) > 2 or not all(re.fullmatch(r"[0-9]{1,5}", side) for side in sides):
        return None
    return int(sides[0]), int(sides[-1])


def whole_cells(size: Size) -> Size:
    """The largest size of whole latent cells that is within a size."""
    width, height = size
    return width - width % LATENT_PIXELS, height - height % LATENT_PIXELS


def parse_resolution(text: str | Sequence[int]) -> Size:
    """Read the option `resolution`: width and height, or one number. Raises UserError."""
    size = read_size(text if isinstance(text, str) else ",".join(map(str, text)))
    if size is None or min(size) <= 0 or size != whole_cells(size):
        raise UserError(
            "resolution is {value}; write width and height in multiples of {step}, "
            'such as "448,704".',
            value=repr(text),
            step=LATENT_PIXELS,
            about="resolution",
        )
    return size
