"""Tells plain backgrounds from others by the pixels alone: no network that could be mistaken.

A background is plain where the strips along the picture's top and sides, which a figure leaves
mostly free, have one colour.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

STRIP = 0.14  # of the width, along the top and both sides
NEAR = 14.0  # of 255, the furthest channel's distance from the strips' commonest colour
PLAIN = 0.8  # the share of one colour from which a background is called plain


def one_colour_share(picture: Image.Image | NDArray[np.uint8]) -> float:
    """Share of the strips along top and sides that has nearly the same colour, 0..1."""
    pixels = np.asarray(
        picture.convert("RGB") if isinstance(picture, Image.Image) else picture, dtype=np.float32
    )
    wide = max(1, round(STRIP * pixels.shape[1]))
    strips = np.concatenate(
        [
            pixels[:wide].reshape(-1, 3),
            pixels[wide:, :wide].reshape(-1, 3),
            pixels[wide:, -wide:].reshape(-1, 3),
        ]
    )  # (N, 3)
    coarse = (strips // 16).astype(int) @ np.array([256, 16, 1])
    commonest = strips[coarse == np.bincount(coarse).argmax()].mean(axis=0)
    return float((np.abs(strips - commonest).max(axis=1) < NEAR).mean())


def is_plain(picture: Image.Image | NDArray[np.uint8]) -> bool:
    """Whether a picture's background is one colour."""
    return one_colour_share(picture) >= PLAIN
