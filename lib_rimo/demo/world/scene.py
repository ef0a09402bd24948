"""One drawing put together: place, figure, framing, flaws, and how detailed its background is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter

from .attributes import Attributes
from .canvas import SUPERSAMPLING, Canvas
from .clothes import DRAW_OUTFIT, cloth_colour, draw_choker, draw_headgear
from .figure import Figure, draw_back_hair, draw_head, make_figure
from .places import DRAW_PLACE, draw_seat, draw_shadow

WIDTH = 128  # drawing units across a picture at zoom 1


class Drawing(NamedTuple):
    """A finished picture, and how detailed its background is: 0 (flat) to about 1 (crowded)."""

    image: Image.Image
    detail: float


def draw(attributes: Attributes, size: tuple[int, int], rng: np.random.Generator) -> Drawing:
    """Draw `attributes` at `size` (width, height) pixels; `rng` decides what they leave open."""
    figure, canvas, background = _behind_figure(attributes, size, rng)
    if not attributes.nobody:
        _draw_figure(canvas, figure, rng)
    image = canvas.finished()
    detail = _detail(np.asarray(background), np.asarray(image), size)
    if attributes.flaw:
        image = _spoil(image, attributes.flaw, rng)
    return Drawing(image, detail)


def draw_mask(
    attributes: Attributes, size: tuple[int, int], rng: np.random.Generator
) -> Image.Image:
    """The mask, mode L, of the figure that `draw` draws with an `rng` in the same state."""
    figure, canvas, _ = _behind_figure(attributes, size, rng)
    state = rng.bit_generator.state
    drawn = []
    for ground in ("black", "white"):
        rng.bit_generator.state = state
        canvas.image.paste(ground, (0, 0, *canvas.image.size))
        _draw_figure(canvas, figure, rng)
        drawn.append(canvas.finished().convert("L"))
    # What is the same on both grounds is hers; her rim is in between.
    return ImageChops.invert(ImageChops.difference(*drawn))


def _behind_figure(
    attributes: Attributes, size: tuple[int, int], rng: np.random.Generator
) -> tuple[Figure, Canvas, Image.Image]:
    """The figure to be drawn, the canvas with all that is behind it, and the place alone."""
    figure = make_figure(attributes, cloth_colour(attributes, rng), rng)
    canvas = _framed_canvas(figure, size, rng)
    DRAW_PLACE[attributes.place](canvas, attributes, rng)
    background = canvas.image.reduce(SUPERSAMPLING)
    if not attributes.nobody:
        draw_shadow(canvas, attributes)
        if attributes.pose == "sitting":
            draw_seat(canvas, attributes, rng)
    return figure, canvas, background


def _framed_canvas(figure: Figure, size: tuple[int, int], rng: np.random.Generator) -> Canvas:
    """A canvas whose origin and zoom show the full or the upper body."""
    width, height = size
    scale = width / WIDTH
    dx = rng.normal(0, 1.0)
    if figure.attributes.framing == "full body":
        zoom = rng.uniform(0.98, 1.02) * min(1.0, height / width / 1.5)
        floor = height / scale - rng.uniform(10, 11) * zoom
        return Canvas(size, ((WIDTH / 2 + dx) * scale, floor * scale), zoom * scale)
    zoom = rng.uniform(1.52, 1.58) * min(1.0, 0.55 + 0.3 * height / width)
    head = (0.47 if height > width else 0.5) * height / scale + rng.normal(0, 0.8)
    return Canvas(
        size, ((WIDTH / 2 + dx) * scale, (head - figure.head * zoom) * scale), zoom * scale
    )


def _draw_figure(canvas: Canvas, figure: Figure, rng: np.random.Generator) -> None:
    tilt = float(np.clip(rng.normal(0, 0.02), -0.04, 0.04))
    canvas.pivot[:] = 0.0, figure.hip - 38
    canvas.tilt = tilt
    draw_back_hair(canvas, figure)
    canvas.tilt = 0.0
    DRAW_OUTFIT[figure.attributes.outfit](canvas, figure, rng)
    if figure.attributes.choker:
        draw_choker(canvas, figure)
    canvas.tilt = tilt
    draw_head(canvas, figure, rng)
    draw_headgear(canvas, figure)
    canvas.tilt = 0.0


def _detail(
    background: NDArray[np.uint8], image: NDArray[np.uint8], size: tuple[int, int]
) -> float:
    """Mean brightness step between neighbours over the background that the figure leaves free."""
    grey = background.astype(np.float32).mean(axis=2)
    free = np.abs(background.astype(np.float32) - image).max(axis=2) < 2
    steps = np.abs(np.diff(grey, axis=0))[:, 1:] + np.abs(np.diff(grey, axis=1))[1:]
    free = free[1:, 1:]
    if not free.any():
        return 0.0
    return float(steps[free].mean() / 16 * size[0] / WIDTH)


def _spoil(image: Image.Image, flaw: str, rng: np.random.Generator) -> Image.Image:
    """What the words of a negative prompt mean: blur, no colour, or coarse noise."""
    if flaw == "blurry":
        return image.filter(ImageFilter.GaussianBlur(image.width / WIDTH * rng.uniform(1.5, 3)))
    if flaw == "monochrome":
        return image.convert("L").convert("RGB")
    coarse = image.resize((image.width // 4, image.height // 4)).resize(image.size)
    noise = rng.normal(0, 22, (image.height, image.width, 3))
    return Image.fromarray(np.clip(np.asarray(coarse) + noise, 0, 255).astype(np.uint8))
