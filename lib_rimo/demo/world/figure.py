"""The character: skeleton, limbs, head, face and hair.

Figure coordinates: x = 0 is the middle of the body, y = 0 the floor, up is negative.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .attributes import (
    EYE_COLOURS,
    HAIR_COLOURS,
    HEADPHONE_COLOURS,
    TIP_COLOURS,
    Attributes,
)
from .canvas import (
    INK,
    Canvas,
    Colour,
    Points,
    below,
    blend,
    ellipse,
    light,
    limb,
    mirrored,
    points,
    shade,
    smooth,
    varied,
)

LINE = 1.1  # width of an outline
HIP_HEIGHT = {"standing": -52.0, "sitting": -31.0, "kneeling": -17.0}


@dataclass(frozen=True)
class Figure:
    """One character's skeleton and colours, shared by body, clothes and head."""

    attributes: Attributes
    hip: float
    arms: tuple[Points, Points]  # shoulder, elbow, hand
    skin: Colour
    hair: Colour
    tips: Colour
    eyes: Colour
    cloth: Colour
    sway: float  # -1..1, how hair and skirts swing
    gaze: float  # -1..1, where the face looks
    side: int  # +1 or -1, the side of whatever is on one side only

    @property
    def head(self) -> float:
        """Height of the head's centre."""
        return self.hip - 62


def make_figure(attributes: Attributes, cloth: Colour, rng: np.random.Generator) -> Figure:
    """Choose what the attributes leave open."""
    likeness = attributes.likeness
    natural = varied(HAIR_COLOURS[attributes.hair_colour], rng)
    hair = blend(natural, HAIR_COLOURS["silver"], likeness.hair)
    tips = TIP_COLOURS[attributes.tips] if attributes.tips else hair
    side = 1 if rng.random() < 0.5 else -1
    hip = HIP_HEIGHT[attributes.pose]
    return Figure(
        attributes=attributes,
        hip=hip,
        arms=arm_paths(attributes.gesture, hip, side, rng),
        skin=varied((255, 226, 206), rng, 0.6),
        hair=hair,
        tips=blend(tips, TIP_COLOURS["purple"], likeness.tips),
        eyes=blend(
            varied(EYE_COLOURS[attributes.eye_colour], rng), EYE_COLOURS["yellow"], likeness.eyes
        ),
        cloth=cloth,
        sway=float(np.clip(rng.normal(0, 0.3), -1, 1)),
        gaze=float(np.clip(rng.normal(0, 0.25), -1, 1)),
        side=side,
    )


def arm_paths(
    gesture: str, hip: float, side: int, rng: np.random.Generator
) -> tuple[Points, Points]:
    """Paths (3, 2) of both arms, the one on `side` first."""
    hanging = points((12, -32), (17.5, -18), (19, -4)) + points((0, hip))
    together = points((12, -32), (17, -17), (4, -11)) + points((0, hip))
    raised = points((12, -31), (24, -28), (31, -44)) + points((0, hip))
    first, second = {
        "arms at sides": (hanging, hanging),
        "own hands together": (together, together),
        "waving": (raised, hanging),
    }[gesture]
    wobble = rng.normal(0, 0.4, (2, 3, 2)) * points((0, 0), (1, 1), (1.3, 1.3))
    return (first + wobble[0]) * (side, 1), (second + wobble[1]) * (-side, 1)


def draw_arms(canvas: Canvas, figure: Figure) -> None:
    """Bare arms and hands."""
    for path in figure.arms:
        canvas.fill(limb(path, (4.2, 3.7, 3.0)), figure.skin, LINE)
        canvas.fill(ellipse(path[2, 0], path[2, 1], 3.9, 3.9, 14), figure.skin, LINE)


def draw_legs(canvas: Canvas, figure: Figure, sock: Colour | None, shoe: Colour) -> None:
    """Legs as the pose shows them, with socks to the knee if there are any."""
    pose = figure.attributes.pose
    lower = sock or figure.skin
    if pose == "kneeling":
        for side in (-1, 1):
            canvas.fill(ellipse(side * 12.5, -6.5, 14, 7), figure.skin, LINE)
            if sock:
                canvas.fill(ellipse(side * 19, -4.5, 8, 5), sock, LINE)
        return
    spread = 6.8 if pose == "standing" else 9.5
    top = figure.hip - 4 if pose == "standing" else -26.0
    for side in (-1, 1):
        x = side * spread
        canvas.fill(limb(points((x, top), (x * 1.03, -4)), (6.0, 4.2)), figure.skin, LINE)
        if pose == "sitting":
            canvas.fill(ellipse(x, -23, 6.8, 6), figure.skin, LINE)
        if sock:
            height = -27.0 if pose == "standing" else -16.0
            canvas.fill(limb(points((x, height), (x * 1.03, -4)), (5.2, 4.2)), lower, LINE)
        canvas.fill(ellipse(x * 1.12, -3.2, 6.2, 3.8, 18), shoe, LINE)


# ---------------------------------------------------------------------------------- head


def draw_back_hair(canvas: Canvas, figure: Figure) -> None:
    """What of the hair lies behind the body."""
    style, y, sway = figure.attributes.hair_style, figure.head, figure.sway
    colour = shade(figure.hair, 0.14)
    tips = shade(figure.tips, 0.1)
    if style == "long hair":
        half = points(
            (0, y - 26), (20, y - 20), (28, y), (29, y + 26), (31 + sway, y + 50), (22, y + 60),
            (14, y + 55),
        )  # fmt: skip
        _hair(
            canvas, smooth(mirrored(half) + _swing(mirrored(half), y, sway)), colour, tips, y + 26
        )
    elif style == "short hair":
        half = points((0, y - 26), (20, y - 20), (29, y), (30, y + 16), (24, y + 24), (12, y + 22))
        _hair(canvas, smooth(mirrored(half)), colour, tips, y + 10)
    elif style == "twintails":
        half = points((0, y - 26), (20, y - 20), (27, y - 2), (24, y + 14), (12, y + 18))
        canvas.fill(smooth(mirrored(half)), colour, LINE)
        for side in (-1, 1):
            tail = points(
                (22, y - 16), (33, y - 18), (43, y - 4), (45, y + 20),
                (40 + 3 * sway * side, y + 44), (34 + 3 * sway * side, y + 52),
                (31, y + 36), (28, y + 12), (24, y - 4),
            )  # fmt: skip
            _hair(canvas, smooth(tail * (side, 1)), figure.hair, figure.tips, y + 16)
            if not _headphones(figure)[1]:
                canvas.fill(ellipse(side * 25, y - 13, 4.2, 5.4, 16), figure.eyes, LINE)
    elif style == "ponytail":
        half = points((0, y - 26), (20, y - 20), (27, y - 2), (24, y + 14), (12, y + 18))
        canvas.fill(smooth(mirrored(half)), colour, LINE)
        tail = points(
            (8, y - 24), (22, y - 36), (40, y - 30), (48, y - 6), (46, y + 22), (38, y + 44),
            (33, y + 46), (35, y + 22), (33, y - 2), (24, y - 14),
        )  # fmt: skip
        _hair(canvas, smooth(tail * (figure.side, 1)), figure.hair, figure.tips, y + 14)
        canvas.fill(ellipse(figure.side * 17, y - 25, 5, 5, 16), figure.eyes, LINE)


def _swing(shape: Points, y: float, sway: float) -> Points:
    """Shift the lower points of hair sideways."""
    depth = np.clip((shape[:, 1:] - y) / 50, 0, 1)
    return np.asarray(depth * points((4 * sway, 0)))


def _hair(canvas: Canvas, shape: Points, colour: Colour, tips: Colour, y: float) -> None:
    """A lock of hair whose ends below `y` may have another colour."""
    canvas.fill(shape, colour, LINE)
    if tips != colour:
        canvas.fill(below(shape, y), blend(colour, tips, 0.6))
        canvas.fill(below(shape, y + 5), tips)
        canvas.line(np.concatenate([shape, shape[:1]]), blend(INK, colour, 0.25), LINE)


def draw_head(canvas: Canvas, figure: Figure, rng: np.random.Generator) -> None:
    """Face and the hair before it."""
    y = figure.head
    face = points((0, y - 22), (16, y - 18), (23, y - 4), (22, y + 8), (15, y + 18), (6, y + 23.5))
    canvas.fill(smooth(mirrored(face)), figure.skin, LINE)
    x = 2.2 * figure.gaze
    for side in (-1, 1):
        _draw_eye(canvas, x + side * 10.8, y + 5.5, side, figure)
        if figure.attributes.blush:
            canvas.fill(ellipse(x + side * 15, y + 13.5, 5.2, 2.9, 16), (255, 158, 158))
    _draw_mouth(canvas, x, y + 16.5, figure.attributes.expression)
    _draw_bangs(canvas, figure, int(rng.integers(3)))
    _draw_headphones(canvas, figure)


def _draw_eye(canvas: Canvas, x: float, y: float, side: int, figure: Figure) -> None:
    canvas.fill(ellipse(x, y, 6.0, 7.6), (255, 255, 255))
    look = x + 0.5 * figure.gaze
    canvas.fill(ellipse(look, y + 0.4, 5.0, 7.0), shade(figure.eyes, 0.45))
    canvas.fill(ellipse(look, y + 1.4, 4.5, 5.6), figure.eyes)
    canvas.fill(ellipse(look, y + 4.2, 3.2, 2.4), light(figure.eyes, 0.45))
    canvas.fill(ellipse(look, y + 0.2, 1.8, 2.9), shade(figure.eyes, 0.75))
    canvas.fill(ellipse(look - 1.7, y - 3.0, 1.7, 2.0), (255, 255, 255))
    lash = points((-6, -4.6), (-3, -7.4), (1, -8.4), (5, -6.6), (7.2, -2.6)) * (side, 1)
    canvas.line(lash + points((x, y)), INK, 2.0)
    canvas.line(points((x - 4.5, y - 12.2), (x, y - 13.3), (x + 4.5, y - 12.2)), INK, 0.9)


def _draw_mouth(canvas: Canvas, x: float, y: float, expression: str) -> None:
    if expression == "open mouth":
        shape = smooth(points((x - 3.6, y - 0.8), (x, y - 0.2), (x + 3.6, y - 0.8), (x, y + 4.6)))
        canvas.fill(shape, (226, 92, 96), 0.9)
    elif expression == "smile":
        curve = points(
            (x - 4, y - 0.4), (x - 2, y + 1.3), (x, y + 1.8), (x + 2, y + 1.3), (x + 4, y - 0.4)
        )
        canvas.line(curve, (150, 60, 66), 1.1)
    else:
        canvas.line(points((x - 2.4, y + 0.6), (x + 2.4, y + 0.6)), (150, 60, 66), 1.1)


def _draw_bangs(canvas: Canvas, figure: Figure, cut: int) -> None:
    """Hair over the forehead (one of three cuts), side locks and the light on it."""
    y, side, colour = figure.head, figure.side, figure.hair
    for lock in (-1, 1):
        strand = points(
            (15, y - 16),
            (24, y - 8),
            (27, y + 6),
            (24.5, y + 21),
            (21, y + 14),
            (20.5, y),
            (17, y - 8),
        )
        _hair(canvas, smooth(strand * (lock, 1)), colour, figure.tips, y + 9)
    crown = [
        (-25, y - 1),
        (-25, y - 14),
        (-16, y - 25),
        (0, y - 29),
        (16, y - 25),
        (25, y - 14),
        (25, y - 1),
    ]
    edge = (
        [
            (21, y - 4), (19, y - 8), (12, y - 5), (7, y - 9), (0, y - 3),
            (-6, y - 9), (-12, y - 5), (-19, y - 8), (-21, y - 4),
        ],
        [(22, y - 4), (18, y - 6), (6, y - 7), (-6, y - 7), (-18, y - 6), (-22, y - 4)],
        [
            (22, y + 1), (20, y - 6), (12, y - 2), (4, y - 7), (-6, y - 13), (-14, y - 8),
            (-20, y - 6), (-22, y + 1),
        ],
    )[cut]  # fmt: skip
    shape = points(*crown, *edge) * (side, 1)
    rounded = np.concatenate([smooth(shape, 5)])
    canvas.fill(rounded, colour, LINE)
    shine = points((-17, y - 17), (-9, y - 20.5), (0, y - 21.5), (9, y - 20.5), (17, y - 17))
    canvas.line(shine, light(colour, 0.38), 2.6)
    if cut != 1:
        for x in (-9, 7):
            canvas.line(
                points((x, y - 18), (x * 0.8, y - 11)) * (side, 1), shade(colour, 0.35), 0.9
            )


def _headphones(figure: Figure) -> tuple[Colour, float]:
    """The colour of their glow and their size, 0 for none; rimochan's grow with the likeness."""
    attributes = figure.attributes
    if attributes.headphones:
        return HEADPHONE_COLOURS[attributes.headphones], 1.0
    return HEADPHONE_COLOURS["aqua"], attributes.likeness.ornament


def _draw_headphones(canvas: Canvas, figure: Figure) -> None:
    """Glowing discs over the ears."""
    y = figure.head
    glow, size = _headphones(figure)
    if not size:
        return
    for side in (-1, 1):
        x = side * 24
        canvas.fill(ellipse(x, y - 8, 9.5 * size, 9.5 * size), (40, 40, 66), LINE)
        canvas.fill(ellipse(x, y - 8, 7.0 * size, 7.0 * size), glow)
        canvas.fill(ellipse(x, y - 8, 3.2 * size, 3.2 * size), (40, 40, 66))
