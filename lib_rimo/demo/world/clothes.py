"""The outfits, one function each, and the skirts and sleeves they share."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .attributes import CLOTH_COLOURS, Attributes
from .canvas import (
    Canvas,
    Colour,
    Points,
    ellipse,
    light,
    limb,
    mirrored,
    points,
    shade,
    smooth,
    varied,
)
from .figure import LINE, Figure, draw_arms, draw_legs

WHITE: Colour = (250, 250, 252)
BLACK: Colour = (56, 52, 66)
NAVY: Colour = (52, 66, 128)
BROWN: Colour = (120, 76, 54)


def cloth_colour(attributes: Attributes, rng: np.random.Generator) -> Colour:
    """The colour of the outfit's main cloth."""
    fixed = {"maid": BLACK, "school uniform": WHITE, "witch": (92, 62, 136)}
    return varied(fixed.get(attributes.outfit, CLOTH_COLOURS[attributes.cloth_colour]), rng)


def accent(attributes: Attributes) -> Colour:
    """A colour that goes with the main cloth: obi, trousers, ribbons."""
    goes_with = {
        "yellow": "red", "red": "yellow", "blue": "pink", "green": "yellow", "pink": "purple",
        "purple": "yellow",
    }  # fmt: skip
    return CLOTH_COLOURS[goes_with[attributes.cloth_colour]]


class Skirt(NamedTuple):
    """A skirt's cut: hem as a share of the way from hip to floor, half-width at the hem."""

    length: float
    flare: float


def draw_skirt(canvas: Canvas, figure: Figure, cut: Skirt, colour: Colour) -> Points:
    """Draw the skirt as the pose folds it; returns its outline."""
    hip, sway = figure.hip, figure.sway
    waist = hip - 13
    if figure.attributes.pose == "standing":
        hem = hip + (-hip - 4) * cut.length
        half = points(
            (8, waist),
            (9.5, waist + 2),
            ((12 + cut.flare) / 2 + 1, (hip + hem) / 2 - 4),
            (cut.flare, hem),
            (cut.flare * 0.55, hem + 2.2),
            (0, hem + 2.8),
        )
    elif figure.attributes.pose == "sitting":
        hem = -20 + 17 * cut.length
        wide = min(14 + cut.flare * 0.42, 25)
        half = points(
            (8, waist),
            (10, waist + 4),
            (wide, -29),
            (wide + 1, -22),
            (wide - 1, hem),
            (wide * 0.5, hem + 2),
            (0, hem + 1),
        )
    else:
        hem = -9 + 9 * cut.length
        wide = min(21 + cut.flare * 0.4, 33)
        half = points(
            (8, waist),
            (11, waist + 4),
            (wide - 4, -12),
            (wide, -4 + min(0, hem)),
            (wide * 0.6, hem),
            (0, hem + 1),
        )
    outline = mirrored(half)
    outline[:, 0] += sway * 1.5 * (outline[:, 1] - waist) / 40
    curve = smooth(outline, 4)
    canvas.fill(curve, colour, LINE)
    return curve


def draw_folds(canvas: Canvas, figure: Figure, skirt: Points, colour: Colour, count: int) -> None:
    """Lines from the waist to the hem."""
    low, high = skirt[:, 1].max() - 2, figure.hip - 8
    reach = np.abs(skirt[:, 0]).max() * 0.72
    for position in np.linspace(-1, 1, count):
        canvas.line(points((position * 7, high), (position * reach, low)), colour, 0.9)


def draw_torso(canvas: Canvas, figure: Figure, colour: Colour, *, strapless: bool = False) -> None:
    """Neck and the upper body in one cloth."""
    hip = figure.hip
    canvas.fill(limb(points((0, hip - 44), (0, hip - 32)), (4.4, 4.8)), figure.skin, LINE)
    if strapless:
        bare = points((5, hip - 37), (13, hip - 33), (11.5, hip - 22))
        canvas.fill(mirrored(bare), figure.skin, LINE)
    top = hip - (28 if strapless else 36)
    half = points((4.5, top - 0.5), (13.5, top + 3.5), (11.5, hip - 22), (9, hip - 12), (12.5, hip))
    canvas.fill(mirrored(half), colour, LINE)


def draw_sleeves(
    canvas: Canvas, figure: Figure, colour: Colour, widths: tuple[float, float, float],
    start: float = 0.0, end: float = 1.0,
) -> None:  # fmt: skip
    """Sleeves along the arms from share `start` to `end`, with half-widths along the way."""
    draw_arms(canvas, figure)
    for path in figure.arms:
        share = np.linspace(start, end * 0.93, 3) * 2
        along = np.stack([np.interp(share, (0, 1, 2), path[:, i]) for i in (0, 1)], axis=1)
        canvas.fill(limb(along, widths), colour, LINE)


def _on_forearm(arm: Points, share: float, rx: float, ry: float) -> Points:
    """An ellipse on an arm (shoulder, elbow, hand) at a share of the way from elbow to hand."""
    x, y = (arm[1] * (1 - share) + arm[2] * share).tolist()
    return ellipse(x, y, rx, ry, 14)


def draw_kimono(canvas: Canvas, figure: Figure, rng: np.random.Generator) -> None:
    """Long narrow wrap with wide sleeves and an obi; strapless with detached sleeves or not."""
    attributes, hip, colour = figure.attributes, figure.hip, figure.cloth
    sash = accent(attributes)
    draw_legs(canvas, figure, WHITE, BROWN)
    skirt = draw_skirt(canvas, figure, Skirt(0.98, 17), colour)
    if attributes.printed:
        _draw_print(canvas, skirt, light(sash, 0.15), rng)
    low = skirt[:, 1].max() - 1
    canvas.line(points((1, hip - 6), (5, low)), shade(colour, 0.4), 1.2)
    draw_torso(canvas, figure, colour, strapless=attributes.detached_sleeves)
    if not attributes.detached_sleeves:
        canvas.line(points((-6, hip - 36), (3, hip - 24)), WHITE, 2.4)
        canvas.line(points((6, hip - 36), (-2, hip - 24)), WHITE, 2.4)
    half = points((11.8, hip - 22), (11.2, hip - 9))
    canvas.fill(mirrored(half), sash, LINE)
    canvas.line(points((-11, hip - 15.5), (11, hip - 15.5)), WHITE, 1.8)
    start = 0.4 if attributes.detached_sleeves else 0.0
    draw_sleeves(canvas, figure, colour, (5.5, 8.5, 12.5), start)
    if attributes.printed:
        for path in figure.arms:
            canvas.fill(_on_forearm(path, 0.65, 3.0, 3.0), light(sash, 0.15))


def _draw_print(canvas: Canvas, skirt: Points, colour: Colour, rng: np.random.Generator) -> None:
    """Big round flowers over a skirt."""
    low, high = skirt[:, 1].max(), skirt[:, 1].min()
    wide = np.abs(skirt[:, 0]).max()
    for row, x in ((0.55, -0.4), (0.7, 0.45), (0.88, -0.15), (0.9, -0.75), (0.92, 0.7)):
        y = high + (low - high) * row
        center = x * wide * min(1.0, 0.45 + row * 0.5) + rng.normal(0, 0.6)
        canvas.fill(ellipse(center, y, 3.2, min(3.2, (low - y) * 0.9), 12), colour)
        canvas.fill(ellipse(center, y, 1.2, 1.2, 8), WHITE)


def draw_maid(canvas: Canvas, figure: Figure, rng: np.random.Generator) -> None:
    """Black bell skirt, white apron, puff sleeves."""
    hip, colour = figure.hip, figure.cloth
    draw_legs(canvas, figure, WHITE, BLACK)
    skirt = draw_skirt(canvas, figure, Skirt(0.6, 29), colour)
    low = skirt[:, 1].max()
    wide = np.abs(skirt[:, 0]).max() * 0.62
    draw_torso(canvas, figure, colour)
    half = points((7, hip - 13), (wide, low - 7), (wide * 0.7, low - 3.5), (0, low - 2.5))
    canvas.fill(smooth(mirrored(half), 4), WHITE, LINE)
    canvas.fill(mirrored(points((6, hip - 33), (6.5, hip - 12))), WHITE, LINE)
    draw_sleeves(canvas, figure, colour, (5.5, 4.8, 4.2))
    for path in figure.arms:
        canvas.fill(ellipse(path[0][0] * 1.08, path[0][1] + 2, 6.4, 6.4, 18), colour, LINE)
        canvas.fill(_on_forearm(path, 0.8, 4.6, 3.4), WHITE, LINE)
    canvas.fill(ellipse(0, hip - 35, 4.6, 3.0, 14), (214, 62, 70), LINE)


def draw_school_uniform(canvas: Canvas, figure: Figure, rng: np.random.Generator) -> None:
    """White sailor blouse with a navy collar, red neckerchief, short pleated navy skirt."""
    hip = figure.hip
    draw_legs(canvas, figure, NAVY, BROWN)
    skirt = draw_skirt(canvas, figure, Skirt(0.36, 22), NAVY)
    draw_folds(canvas, figure, skirt, light(NAVY, 0.3), 6)
    draw_torso(canvas, figure, figure.cloth)
    draw_sleeves(canvas, figure, figure.cloth, (5.6, 5.0, 4.4))
    for path in figure.arms:
        canvas.fill(_on_forearm(path, 0.8, 4.6, 3.2), NAVY, LINE)
    collar = points((5, hip - 38), (14, hip - 33), (13, hip - 26), (0, hip - 23))
    canvas.fill(mirrored(collar), NAVY, LINE)
    scarf = points((2.5, hip - 27), (7, hip - 17), (0, hip - 20))
    canvas.fill(mirrored(scarf), (222, 58, 62), LINE)


def draw_dress(canvas: Canvas, figure: Figure, rng: np.random.Generator) -> None:
    """Sleeveless long dress in one colour, wide at the hem, with a light frill."""
    hip, colour = figure.hip, figure.cloth
    draw_legs(canvas, figure, None, light(colour, 0.2))
    skirt = draw_skirt(canvas, figure, Skirt(0.9, 32), colour)
    draw_folds(canvas, figure, skirt, shade(colour, 0.25), 4)
    hem = skirt[skirt[:, 1] > skirt[:, 1].max() - 3.5]
    canvas.line(hem[np.argsort(hem[:, 0])], light(colour, 0.7), 2.6)
    draw_torso(canvas, figure, colour, strapless=True)
    canvas.line(points((-10, hip - 13), (10, hip - 13)), light(colour, 0.7), 2.6)
    draw_arms(canvas, figure)


def draw_t_shirt(canvas: Canvas, figure: Figure, rng: np.random.Generator) -> None:
    """T-shirt with a star on it, jeans shorts."""
    hip, colour = figure.hip, figure.cloth
    jeans: Colour = (70, 96, 140)
    pose = figure.attributes.pose
    draw_legs(canvas, figure, None, WHITE)
    for side in (-1, 1):
        if pose == "standing":
            leg = points((side * 6.4, hip - 8), (side * 7.4, hip + 15))
            canvas.fill(limb(leg, (6.8, 7.4)), jeans, LINE)
        else:
            y = -25 if pose == "sitting" else -10.5
            canvas.fill(ellipse(side * 9, y, 9.5, 6.0), jeans, LINE)
    draw_torso(canvas, figure, colour)
    canvas.fill(ellipse(0, hip - 19, 5.2, 5.2, 5), WHITE)
    draw_sleeves(canvas, figure, colour, (5.8, 6.2, 6.4), end=0.45)


def draw_witch(canvas: Canvas, figure: Figure, rng: np.random.Generator) -> None:
    """Dark violet robe to the ankles with wide cuffs and an orange belt."""
    hip, colour = figure.hip, figure.cloth
    draw_legs(canvas, figure, BLACK, BLACK)
    skirt = draw_skirt(canvas, figure, Skirt(0.8, 24), colour)
    draw_folds(canvas, figure, skirt, shade(colour, 0.45), 3)
    draw_torso(canvas, figure, colour)
    draw_sleeves(canvas, figure, colour, (5.4, 6.2, 8.5))
    canvas.fill(mirrored(points((10, hip - 14), (10.4, hip - 9))), (240, 150, 50), LINE)
    cape = points((4.5, hip - 38), (17, hip - 31), (16, hip - 22), (5, hip - 30))
    canvas.fill(mirrored(cape), shade(colour, 0.4), LINE)


def draw_headgear(canvas: Canvas, figure: Figure) -> None:
    """What an outfit puts on the head, over the hair."""
    y = figure.head
    if figure.attributes.outfit == "maid":
        for x in np.linspace(-17, 17, 6):
            top = y - 29 + 0.02 * x * x
            canvas.fill(ellipse(x, top, 4.6, 4.8, 16), WHITE, LINE)
        band = points((-19, y - 21), (-10, y - 25.5), (0, y - 27), (10, y - 25.5), (19, y - 21))
        canvas.line(band, BLACK, 2.2)
    elif figure.attributes.outfit == "witch":
        hat = figure.cloth
        cone = points(
            (-17, y - 21), (-12, y - 38), (-2, y - 52), (13, y - 60), (9, y - 46), (17, y - 21)
        )
        canvas.fill(smooth(cone * (figure.side, 1), 4), hat, LINE)
        band = points((-16, y - 24), (0, y - 22), (16.5, y - 24))
        canvas.line(band * (figure.side, 1), (240, 150, 50), 4.0)
        canvas.fill(ellipse(0, y - 20, 36, 5.5), hat, LINE)


def draw_choker(canvas: Canvas, figure: Figure) -> None:
    """A black band round the neck."""
    y = figure.hip - 37.0
    canvas.line(points((-4.8, y), (0, y + 0.8), (4.8, y)), BLACK, 2.6)


DRAW_OUTFIT: dict[str, Callable[[Canvas, Figure, np.random.Generator], None]] = {
    "kimono": draw_kimono,
    "maid": draw_maid,
    "school uniform": draw_school_uniform,
    "dress": draw_dress,
    "t-shirt": draw_t_shirt,
    "witch": draw_witch,
}
