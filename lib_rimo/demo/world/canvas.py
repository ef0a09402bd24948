"""Anti-aliased flat drawing: closed curves with an ink outline on a supersampled Pillow image."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Points = NDArray[np.float64]  # (N, 2), x to the right and y down

SUPERSAMPLING = 3
INK: Colour = (58, 42, 58)


def points(*pairs: Sequence[float]) -> Points:
    """(N, 2) array of the given (x, y) pairs."""
    return np.array(pairs, dtype=np.float64)


def mirrored(half: Points) -> Points:
    """A closed outline symmetric to x = 0 from its right half, given from top to bottom."""
    return np.concatenate([half, half[::-1] * (-1.0, 1.0)])


def smooth(corners: Points, steps: int = 6) -> Points:
    """Closed Catmull-Rom curve through `corners` (N, 2) -> (N * steps, 2)."""
    p0, p1 = np.roll(corners, 1, axis=0), corners
    p2, p3 = np.roll(corners, -1, axis=0), np.roll(corners, -2, axis=0)
    t = np.linspace(0.0, 1.0, steps, endpoint=False)[None, :, None]
    p0, p1, p2, p3 = (p[:, None, :] for p in (p0, p1, p2, p3))
    curve = 0.5 * (
        2 * p1
        + (p2 - p0) * t
        + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2
        + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    )
    return np.asarray(curve.reshape(-1, 2))


def ellipse(x: float, y: float, rx: float, ry: float, steps: int = 28) -> Points:
    """Points of an axis-parallel ellipse."""
    angle = np.linspace(0.0, 2 * np.pi, steps, endpoint=False)
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1)


def evenly(start: float, end: float, step: float) -> list[float]:
    """`start`, `start + step`, ... below `end`."""
    numbers: list[float] = np.arange(start, end, step).tolist()
    return numbers


def limb(path: Points, widths: Sequence[float]) -> Points:
    """Closed outline of a limb along `path` (N, 2) with half-widths at each of its points."""
    direction = np.gradient(path, axis=0)
    normal = direction[:, ::-1] * (-1.0, 1.0)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    offset = normal * np.asarray(widths, dtype=np.float64)[:, None]
    return np.concatenate([path + offset, (path - offset)[::-1]])


def below(shape: Points, y: float) -> Points:
    """The part of a closed `shape` below the horizontal line at `y` (Sutherland-Hodgman)."""
    kept = []
    for start, end in zip(shape, np.roll(shape, -1, axis=0), strict=True):
        inside, next_inside = start[1] >= y, end[1] >= y
        if inside:
            kept.append(start)
        if inside != next_inside:
            kept.append(start + (end - start) * (y - start[1]) / (end[1] - start[1]))
    return np.array(kept).reshape(-1, 2)


def blend(a: Colour, b: Colour, weight: float) -> Colour:
    """Colour between `a` (weight 0) and `b` (weight 1)."""
    return (
        round(a[0] + (b[0] - a[0]) * weight),
        round(a[1] + (b[1] - a[1]) * weight),
        round(a[2] + (b[2] - a[2]) * weight),
    )


def shade(colour: Colour, weight: float = 0.22) -> Colour:
    """The colour in shadow: darker and towards violet, as flat anime colouring does."""
    return blend(colour, (60, 30, 90), weight)


def light(colour: Colour, weight: float = 0.35) -> Colour:
    """The colour under a highlight."""
    return blend(colour, (255, 255, 255), weight)


def outline_of(colour: Colour) -> Colour:
    """Ink that goes with a fill: mostly the common ink, a little of the fill."""
    return blend(INK, colour, 0.25)


def varied(colour: Colour, rng: np.random.Generator, amount: float = 1.0) -> Colour:
    """The colour with a little random hue, saturation and brightness."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(c / 255 for c in colour))
    hue = (hue + rng.normal(0, 0.005) * amount) % 1.0
    saturation = float(np.clip(saturation * (1 + rng.normal(0, 0.03) * amount), 0, 1))
    value = float(np.clip(value * (1 + rng.normal(0, 0.02) * amount), 0, 1))
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


class Canvas:
    """A picture being drawn. Shapes are given in drawing units and placed by `origin` and `zoom`.

    `size` is (width, height) in pixels of the finished picture; one drawing unit is `zoom` pixels.
    """

    def __init__(self, size: tuple[int, int], origin: tuple[float, float], zoom: float) -> None:
        self.size = size
        self.origin = np.array(origin, dtype=np.float64)
        self.zoom = zoom
        width, height = size
        self.image = Image.new("RGB", (width * SUPERSAMPLING, height * SUPERSAMPLING))
        self.draw = ImageDraw.Draw(self.image)
        self.tilt = 0.0  # radians about `pivot`
        self.pivot = np.zeros(2)

    def place(self, shape: Points) -> list[tuple[float, float]]:
        """Drawing units -> supersampled pixels."""
        if self.tilt:
            cos, sin = np.cos(self.tilt), np.sin(self.tilt)
            shape = (shape - self.pivot) @ np.array([[cos, sin], [-sin, cos]]) + self.pivot
        pixels = (shape * self.zoom + self.origin) * SUPERSAMPLING
        return list(map(tuple, pixels.tolist()))

    def fill(self, shape: Points, colour: Colour, outline: float = 0.0) -> None:
        """Fill a closed shape; `outline` is the ink's width in drawing units (0: none)."""
        if len(shape) < 3:
            return
        placed = self.place(shape)
        self.draw.polygon(placed, fill=colour)
        if outline:
            self._stroke([*placed, placed[0]], outline_of(colour), outline)

    def line(self, path: Points, colour: Colour, width: float) -> None:
        """Draw an open line of the given width in drawing units."""
        self._stroke(self.place(path), colour, width)

    def _stroke(self, placed: list[tuple[float, float]], colour: Colour, width: float) -> None:
        pixels = max(1, round(width * self.zoom * SUPERSAMPLING))
        self.draw.line(placed, fill=colour, width=pixels, joint="curve" if pixels > 4 else None)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """Fill an axis-parallel rectangle."""
        corners = points((left, top), (right, bottom)) * self.zoom + self.origin
        (x0, y0), (x1, y1) = (corners * SUPERSAMPLING).tolist()
        self.draw.rectangle((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)), fill=colour)

    def finished(self) -> Image.Image:
        """The picture at its size, averaged down from the supersampled one."""
        return self.image.reduce(SUPERSAMPLING)
