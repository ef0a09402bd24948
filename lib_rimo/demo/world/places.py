"""The places, one function each: drawn behind the character on a 128-unit wide stage.

Stage coordinates: x = 0 is the middle, y = 0 the floor line under the character's feet.
`LEFT`..`RIGHT`, `TOP`..`BOTTOM` cover every framing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .attributes import PLAIN_COLOURS, Attributes
from .canvas import Canvas, Colour, ellipse, evenly, light, points, shade, smooth, varied

# Where things stand is the same in every drawing of a place, but for a few units and the side: a
# model that sees a hundred thousand pictures, not a hundred million, can learn that.
LEFT, RIGHT, TOP, BOTTOM = -90.0, 90.0, -220.0, 60.0
SKY: Colour = (140, 202, 248)
CLOUD: Colour = (250, 252, 255)
GRASS: Colour = (126, 196, 92)
LEAVES: Colour = (58, 148, 78)
TRUNK: Colour = (132, 88, 58)
WOOD: Colour = (206, 156, 108)


def draw_plain(canvas: Canvas, attributes: Attributes, rng: np.random.Generator) -> None:
    """One flat colour."""
    canvas.box(LEFT, TOP, RIGHT, BOTTOM, PLAIN_COLOURS[attributes.plain_colour])


def _draw_sky(canvas: Canvas, rng: np.random.Generator) -> None:
    canvas.box(LEFT, TOP, RIGHT, BOTTOM, varied(SKY, rng))
    side = 1 if rng.random() < 0.5 else -1
    for x, y, size in ((-46.0, -160.0, 1.2), (8.0, -170.0, 0.9), (50.0, -142.0, 1.0)):
        x, y = side * x + rng.normal(0, 1.5), y + rng.normal(0, 1)
        for dx, dy, r in ((-11, 2, 7), (0, -3, 10), (11, 2, 7.5)):
            canvas.fill(
                ellipse(x + dx * size, y + dy * size, r * 1.3 * size, r * 0.8 * size), CLOUD
            )


def draw_outdoors(canvas: Canvas, attributes: Attributes, rng: np.random.Generator) -> None:
    """A meadow with trees and flowers."""
    _draw_sky(canvas, rng)
    horizon = rng.uniform(-47, -45)
    side = 1 if rng.random() < 0.5 else -1
    hills = points((-90, -8), (-50, -20), (-16, -6), (24, -18), (60, -8), (90, -16)) * (side, 1)
    hills = hills[::side] + points((0, horizon))
    hills = np.concatenate([hills, points((RIGHT, 0), (LEFT, 0))])
    canvas.fill(smooth(hills, 5), varied((104, 176, 130), rng))
    grass = varied(GRASS, rng)
    canvas.box(LEFT, horizon, RIGHT, BOTTOM, grass)
    for x, y in ((-50.0, 6.0), (51.0, 9.0)):
        _draw_tree(canvas, side * x + rng.normal(0, 1.5), horizon + y, rng)
    scattered = np.random.default_rng(1)
    for _ in range(14):
        x, y = scattered.uniform(-64, 64), scattered.uniform(-38, 8)
        canvas.line(points((x - 2, y), (x, y - 4), (x + 2, y)), shade(grass, 0.25), 1.0)
    petals: tuple[Colour, ...] = ((255, 255, 255), (252, 150, 170), (254, 226, 90))
    for _ in range(7):
        x, y = scattered.uniform(-62, 62), scattered.uniform(-36, 8)
        canvas.fill(ellipse(x, y, 2.6, 2.6, 10), petals[scattered.integers(3)])


def _draw_tree(canvas: Canvas, x: float, y: float, rng: np.random.Generator) -> None:
    height = rng.uniform(72, 78)
    canvas.fill(
        points((x - 4, y - height * 0.6), (x + 4, y - height * 0.6), (x + 6, y), (x - 6, y)),
        TRUNK,
        1.0,
    )
    leaves = varied(LEAVES, rng)
    top = y - height
    for dx, dy, r in ((-13, 18, 15), (13, 18, 15), (0, 2, 19)):
        canvas.fill(ellipse(x + dx, top + dy, r, r * 0.95), leaves, 1.0)
    for dx, dy, r in ((-14, 14, 7), (10, 12, 6), (-3, -4, 9)):
        canvas.fill(ellipse(x + dx, top + dy, r, r * 0.7), light(leaves, 0.22))


def draw_indoors(canvas: Canvas, attributes: Attributes, rng: np.random.Generator) -> None:
    """A room with a window, a shelf of books and a wooden floor."""
    wall = varied([(250, 226, 190), (246, 212, 200), (226, 222, 196)][rng.integers(3)], rng)
    canvas.box(LEFT, TOP, RIGHT, BOTTOM, wall)
    floor_y = rng.uniform(-36, -34)
    _draw_floor(canvas, floor_y, varied(WOOD, rng))
    side = 1 if rng.random() < 0.5 else -1
    _draw_window(canvas, side * 38, -128, 20, 28, rng)
    _draw_shelf(canvas, -side * 42, floor_y, rng)


def _draw_floor(canvas: Canvas, y: float, colour: Colour) -> None:
    canvas.box(LEFT, y, RIGHT, BOTTOM, colour)
    canvas.box(LEFT, y - 4, RIGHT, y, light(colour, 0.45))
    for row, line in enumerate((y, y + 9, y + 20, y + 33, y + 48)):
        canvas.line(points((LEFT, line), (RIGHT, line)), shade(colour, 0.28), 1.0)
        for x in evenly(LEFT + 18 * (row % 2), RIGHT, 36):
            canvas.line(points((x, line), (x, line + 10)), shade(colour, 0.28), 0.9)


def _draw_window(
    canvas: Canvas, x: float, y: float, rx: float, ry: float, rng: np.random.Generator
) -> None:
    frame = (255, 255, 255)
    canvas.box(x - rx - 3, y - ry - 3, x + rx + 3, y + ry + 3, (150, 110, 90))
    canvas.box(x - rx - 2, y - ry - 2, x + rx + 2, y + ry + 2, frame)
    canvas.box(x - rx, y - ry, x + rx, y + ry, varied(SKY, rng))
    canvas.fill(ellipse(x, y - 9, 11, 5), CLOUD)
    canvas.line(points((x, y - ry), (x, y + ry)), frame, 2.4)
    canvas.line(points((x - rx, y), (x + rx, y)), frame, 2.4)
    curtain = varied((240, 150, 130), rng)
    for side in (-1, 1):
        cloth = points(
            (0, -ry - 6), (rx + 5, -ry - 6), (rx + 5, ry + 8), (rx - 5, ry + 6), (rx - 7, -4)
        )
        canvas.fill(cloth * (side, 1) + (x, y), curtain, 0.9)


def _draw_shelf(canvas: Canvas, x: float, floor_y: float, rng: np.random.Generator) -> None:
    wood: Colour = (158, 106, 70)
    top = floor_y - 104
    canvas.box(x - 22, top, x + 22, floor_y + 3, wood)
    covers: tuple[Colour, ...] = (
        (214, 84, 80), (84, 130, 200), (240, 200, 90),
        (100, 170, 120), (240, 236, 226), (150, 110, 180),
    )  # fmt: skip
    books = np.random.default_rng(2)
    for row in range(4):
        y = top + 4 + row * 26
        canvas.box(x - 19, y, x + 19, y + 22, shade(wood, 0.45))
        left = x - 18.5
        while left < x + 14:
            width, height = books.uniform(4, 7), books.uniform(14, 20)
            canvas.box(left, y + 22 - height, left + width - 0.7, y + 22, covers[books.integers(6)])
            left += width


def draw_school(canvas: Canvas, attributes: Attributes, rng: np.random.Generator) -> None:
    """Before the school: a long building with rows of windows and a clock."""
    _draw_sky(canvas, rng)
    ground = rng.uniform(-37, -35)
    front = varied((238, 228, 206), rng)
    roof = ground - 108
    canvas.box(LEFT, roof, RIGHT, ground, front)
    canvas.box(LEFT, roof - 4, RIGHT, roof + 2, (150, 140, 140))
    shift = rng.uniform(-1, 1)
    for y in evenly(roof + 10, ground - 16, 27):
        for x in evenly(-76 + shift, 90, 21):
            canvas.box(x - 7.5, y, x + 7.5, y + 17, (110, 116, 134))
            canvas.box(x - 6.3, y + 1.2, x + 6.3, y + 15.8, (146, 196, 226))
            canvas.line(points((x, y), (x, y + 17)), (240, 240, 240), 1.2)
    x = 34 if rng.random() < 0.5 else -34
    canvas.box(x - 15, roof - 26, x + 15, roof, front)
    canvas.box(x - 17, roof - 30, x + 17, roof - 26, (176, 84, 72))
    canvas.fill(ellipse(x, roof - 13, 9, 9), (255, 255, 255), 1.2)
    canvas.line(points((x, roof - 19), (x, roof - 13), (x + 4, roof - 11)), (60, 50, 60), 1.2)
    canvas.box(LEFT, ground, RIGHT, BOTTOM, varied((222, 198, 156), rng))
    canvas.box(LEFT, ground, RIGHT, ground + 4, (116, 172, 96))


def draw_classroom(canvas: Canvas, attributes: Attributes, rng: np.random.Generator) -> None:
    """A classroom: blackboard with writing, desks, a clock."""
    canvas.box(LEFT, TOP, RIGHT, BOTTOM, varied((236, 236, 224), rng))
    floor_y = rng.uniform(-39, -37)
    _draw_floor(canvas, floor_y, varied((190, 160, 126), rng))
    y = floor_y - 55
    canvas.box(LEFT, y - 40, RIGHT, y + 26, (150, 104, 66))
    canvas.box(LEFT, y - 37, RIGHT, y + 23, varied((44, 98, 78), rng))
    written = np.random.default_rng(3)
    for x in np.linspace(-58, 58, 7):
        for row in (-26, -12, 2):
            if written.random() < 0.75:
                length = written.uniform(6, 15)
                chalk = points(
                    (x - length / 2, y + row), (x, y + row - 3), (x + length / 2, y + row)
                )
                canvas.line(chalk, (226, 238, 230), 1.5)
    for x in (-48, 48):
        x += rng.normal(0, 1)
        for leg in (-12, 12):
            canvas.box(x + leg - 1.2, -26, x + leg + 1.2, 2, (120, 122, 132))
        canvas.fill(
            points((x - 15, -32), (x + 15, -32), (x + 17, -24), (x - 17, -24)), (226, 178, 120), 1.0
        )


def draw_beach(canvas: Canvas, attributes: Attributes, rng: np.random.Generator) -> None:
    """Sand, waves and a sail."""
    _draw_sky(canvas, rng)
    sand_y = rng.uniform(-32, -30)
    horizon = sand_y - 54
    sea = varied((40, 132, 206), rng)
    canvas.box(LEFT, horizon, RIGHT, sand_y, sea)
    scattered = np.random.default_rng(4)
    for _ in range(12):
        x, y = scattered.uniform(-66, 66), sand_y - scattered.uniform(8, 48)
        canvas.line(points((x - 6, y), (x, y - 1.5), (x + 6, y)), light(sea, 0.55), 1.5)
    side = 1 if rng.random() < 0.5 else -1
    x = side * rng.uniform(45, 48)
    canvas.fill(
        points((x, horizon - 26), (x + 14, horizon - 2), (x, horizon - 2)), (255, 255, 255), 1.0
    )
    canvas.fill(
        points((x - 13, horizon), (x + 16, horizon), (x + 10, horizon + 7), (x - 8, horizon + 7)),
        (204, 80, 72),
        1.0,
    )
    canvas.box(LEFT, sand_y, RIGHT, BOTTOM, varied((246, 222, 162), rng))
    canvas.box(LEFT, sand_y - 4, RIGHT, sand_y + 2, (246, 252, 255))
    for _ in range(8):
        x, y = scattered.uniform(-62, 62), scattered.uniform(-22, 10)
        canvas.fill(
            ellipse(x, y, 2.6, 1.7, 10), ((255, 255, 250), (240, 150, 120))[scattered.integers(2)]
        )


def draw_night(canvas: Canvas, attributes: Attributes, rng: np.random.Generator) -> None:
    """A town by night: stars, the moon, lit windows."""
    canvas.box(LEFT, TOP, RIGHT, BOTTOM, varied((34, 40, 92), rng))
    scattered = np.random.default_rng(5)
    for _ in range(26):
        x, y = scattered.uniform(-66, 66), scattered.uniform(-182, -70)
        canvas.fill(ellipse(x, y, 1.6, 1.6, 8), (250, 246, 214))
    side = 1 if rng.random() < 0.5 else -1
    x, y = side * rng.uniform(42, 45), rng.uniform(-156, -154)
    canvas.fill(ellipse(x, y, 13, 13), (254, 240, 170))
    canvas.fill(ellipse(x + 3, y - 2, 3.4, 3.4, 14), (240, 218, 140))
    ground = rng.uniform(-29, -27)
    for left in evenly(-82, 80, 24):
        top = ground - scattered.uniform(34, 76)
        canvas.box(left, top, left + 22, ground, (52, 50, 84))
        for wy in evenly(top + 5, ground - 8, 11):
            for wx in (left + 3.5, left + 12.5):
                if scattered.random() < 0.7:
                    canvas.box(wx, wy, wx + 6, wy + 6, (252, 212, 110))
    canvas.box(LEFT, ground, RIGHT, BOTTOM, varied((72, 76, 104), rng))
    canvas.box(LEFT, ground, RIGHT, ground + 2, (130, 132, 160))


def draw_seat(canvas: Canvas, attributes: Attributes, rng: np.random.Generator) -> None:
    """The bench under whoever sits."""
    wood = varied([(178, 122, 80), (226, 226, 232), (196, 92, 84)][rng.integers(3)], rng)
    for x in (-29, 29):
        canvas.fill(
            points((x - 3, -20), (x + 3, -20), (x + 3, 1), (x - 3, 1)), shade(wood, 0.3), 1.0
        )
    canvas.fill(points((-38, -27), (38, -27), (38, -18), (-38, -18)), wood, 1.1)


def draw_shadow(canvas: Canvas, attributes: Attributes) -> None:
    """The shadow on the ground, which ties the figure to it."""
    if attributes.place != "plain":
        wide = {"standing": 24, "sitting": 40, "kneeling": 36}[attributes.pose]
        ground = {"night": (48, 50, 78), "outdoors": (88, 152, 74)}
        canvas.fill(ellipse(0, 0, wide, 4.5), ground.get(attributes.place, (150, 124, 104)))


DRAW_PLACE: dict[str, Callable[[Canvas, Attributes, np.random.Generator], None]] = {
    "plain": draw_plain,
    "outdoors": draw_outdoors,
    "indoors": draw_indoors,
    "school": draw_school,
    "classroom": draw_classroom,
    "beach": draw_beach,
    "night": draw_night,
}
