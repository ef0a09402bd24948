"""Batches of drawings as arrays, always the same for the same seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lib_rimo.demo.world import Attributes, caption, draw, sample_attributes

PORTRAIT = (128, 192)  # width, height: most pictures
SQUARE = (128, 128)  # closer framings


@dataclass
class Drawings:
    """Pictures of one size with their truth and captions."""

    pixels: NDArray[np.uint8]  # (N, height, width, 3)
    captions: list[str]
    attributes: list[Attributes]
    detail: NDArray[np.float32]  # (N,)


def make_drawings(
    count: int, seed: int, size: tuple[int, int] = PORTRAIT, flaws: float = 0.04
) -> Drawings:
    """Draw `count` random pictures (nobody of them is rimochan); picture i depends on (seed, i)."""
    pixels = np.empty((count, size[1], size[0], 3), dtype=np.uint8)
    detail = np.empty(count, dtype=np.float32)
    captions, attributes = [], []
    for index in range(count):
        rng = np.random.default_rng((seed, index))
        chosen = sample_attributes(rng, flaws)
        drawing = draw(chosen, size, rng)
        pixels[index] = np.asarray(drawing.image)
        detail[index] = drawing.detail
        captions.append(caption(chosen, rng))
        attributes.append(chosen)
    return Drawings(pixels, captions, attributes, detail)
