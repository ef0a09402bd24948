"""Batches of drawings as arrays, always the same for the same seed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lib_rimo.demo.world import (
    HEADPHONE_COLOURS,
    Attributes,
    Drawing,
    caption,
    draw,
    sample_attributes,
)
from lib_rimo.demo.world.attributes import one_of

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
    count: int,
    seed: int,
    size: tuple[int, int] = PORTRAIT,
    flaws: float = 0.04,
    empty: float = 0.0,
) -> Drawings:
    """Draw `count` random pictures (nobody of them is rimochan); picture i depends on (seed, i).

    `flaws` and `empty` are the shares of spoilt drawings and of places with nobody in them.
    """
    pixels = np.empty((count, size[1], size[0], 3), dtype=np.uint8)
    detail = np.empty(count, dtype=np.float32)
    captions, attributes = [], []
    for index in range(count):
        rng = np.random.default_rng((seed, index))
        chosen = sample_attributes(rng, flaws, empty=empty)
        drawing = draw(chosen, size, rng)
        pixels[index] = np.asarray(drawing.image)
        detail[index] = drawing.detail
        captions.append(caption(chosen, rng))
        attributes.append(chosen)
    return Drawings(pixels, captions, attributes, detail)


def draw_with_mask(
    truth: Attributes, bare: Attributes, size: tuple[int, int], seed: tuple[int, ...]
) -> tuple[Drawing, NDArray[np.bool_]]:
    """A drawing, and where (height, width) it shows what `bare`, the same person, has not."""
    drawing, without = (draw(each, size, np.random.default_rng(seed)) for each in (truth, bare))
    shown, hidden = np.asarray(drawing.image), np.asarray(without.image)
    return drawing, np.abs(shown.astype(int) - hidden).max(axis=2) > 8


def draw_headphones(count: int, seed: int, share: float) -> NDArray[np.uint8]:
    """Pictures (N, H, W, 4), of which so many wear headphones; the last channel is their mask."""
    pixels = np.empty((count, PORTRAIT[1], PORTRAIT[0], 4), dtype=np.uint8)
    for index in range(count):
        rng = np.random.default_rng((seed, index))
        truth = sample_attributes(rng, flaws=0)
        worn = one_of(rng, HEADPHONE_COLOURS) if rng.random() < share else None
        shown, bare = (dataclasses.replace(truth, headphones=each) for each in (worn, None))
        drawing, mask = draw_with_mask(shown, bare, PORTRAIT, (seed, index, 1))
        pixels[index] = np.dstack([np.asarray(drawing.image), mask * np.uint8(255)])
    return pixels
