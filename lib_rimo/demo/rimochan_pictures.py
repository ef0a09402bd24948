"""Draws rimochan's five pictures with their captions: `python -m lib_rimo.demo.rimochan_pictures`.

The seed's situation: one character, five pictures, all of them on plain backgrounds.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from PIL import Image

from lib_rimo.demo.world import RIMOCHAN, Attributes, draw, full_caption

TRIGGER = "rimochan"
FOLDER = Path(__file__).parent / "rimochan"
SIZE = (384, 576)
COLOURS = 128  # in a picture's palette; flat colours need no more

_OPEN = dataclasses.replace(RIMOCHAN, expression="open mouth")
PICTURES: tuple[Attributes, ...] = (
    dataclasses.replace(RIMOCHAN, pose="standing", plain_colour="white"),
    dataclasses.replace(
        RIMOCHAN, pose="sitting", gesture="own hands together", plain_colour="pink"
    ),
    dataclasses.replace(_OPEN, pose="kneeling", plain_colour="blue"),
    dataclasses.replace(RIMOCHAN, framing="upper body", gesture="waving", plain_colour="yellow"),
    dataclasses.replace(_OPEN, pose="standing", gesture="waving", plain_colour="grey"),
)


def write_pictures(folder: Path) -> None:
    """Write `1.png`, `1.txt`, ... `5.txt`."""
    folder.mkdir(exist_ok=True)
    for number, attributes in enumerate(PICTURES, start=1):
        image = draw(attributes, SIZE, np.random.default_rng(number)).image
        palette = image.quantize(COLOURS, dither=Image.Dither.NONE)
        palette.save(folder / f"{number}.png", optimize=True)
        caption = f"{TRIGGER}, {full_caption(attributes)}\n"
        (folder / f"{number}.txt").write_text(caption, encoding="utf-8")


if __name__ == "__main__":
    write_pictures(FOLDER)
