"""Draw a plot over two or three axes.

    python -m lib_rimo xyz --prompt "1girl, standing, <lora:rimochan:1>" \\
        --x "LoRA strength: 0.1-1.0 [10]" --y "Prompt S/R: standing, sitting, kneeling"

A text from under a plot that the WebUI drew can be pasted whole as the prompt: the axes it names
are drawn. Axes and examples of their values:
    Prompt S/R      standing, sitting, kneeling       (the first is looked for in the prompt)
    Seed            1, 2, 3 or 1-10
    Steps           10-50 [5]
    CFG Scale       5-9 (+2)
    Clip skip       1, 2
    Sampler         DPM++ 2M Karras, Euler a, DDIM
    LoRA strength   0-1 (+0.25)
    Block weights   ALL; MIDD; 1,1,1,1,1,0.8,0.2,1,1,1,1,1,1,1,1,1,1; IN07@0.8,IN08@0.2
    Block           BASE, IN04-IN08, NOT OUT03-OUT11  (one cell each: 0, or the Block value)
    Block value     0, 0.5, 1
    LoRA file       None, rimochan-000500, rimochan
The plot and each of its pictures are saved.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lib_rimo.errors import UserError
from lib_rimo.inference.console import (
    add_drawing_arguments,
    open_generator,
    read_presets,
    read_settings,
)

if TYPE_CHECKING:
    from lib_rimo.inference.grid import GridAxis
    from lib_rimo.weights.presets import Presets

HELP = "draw an X/Y/Z plot over prompts, LoRA strengths, blocks, seeds, ..."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    add_drawing_arguments(parser)
    for letter in "xyz":
        parser.add_argument(
            f"--{letter}", metavar='"AXIS: VALUES"', help=f"the {letter.upper()} axis"
        )
    parser.add_argument(
        "--out", type=Path, default=Path("plots"), metavar="DIR", help="where to (plots)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Draw all cells, then the plot."""
    from tqdm import tqdm

    from lib_rimo.inference.grid import axes_infotext, cells, draw_grid, next_number
    from lib_rimo.inference.infotext import format_fields, save_png

    settings, fields = read_settings(arguments)
    presets = read_presets(arguments)
    axes = _axes(arguments, fields, presets)
    planned = list(cells(settings, axes, presets))
    generator = open_generator(arguments, presets)
    name = f"xyz-{next_number(arguments.out, 'xyz-'):05}"
    pictures = []
    with tqdm(total=sum(generator.steps(cell) for cell in planned), unit="step") as bar:
        for number, cell in enumerate(planned):
            (picture,) = generator.draw(cell, on_step=lambda step: bar.update())
            pictures.append(picture)
            save_png(picture.image, arguments.out / name / f"{number:05}.png", picture.infotext)
    labels = [axis.labels for axis in axes] + [("",)] * (3 - len(axes))
    grid = draw_grid([picture.image for picture in pictures], *labels)
    path = arguments.out / f"{name}.png"
    # As in the WebUI the first cell's text, and the axes.
    save_png(grid, path, f"{pictures[0].infotext}, {format_fields(axes_infotext(axes))}")
    print(path)
    return 0


def _axes(
    arguments: argparse.Namespace, fields: dict[str, str], presets: Presets
) -> list[GridAxis]:
    """The axes of the options, else those that the prompt's text names."""
    from lib_rimo.inference.grid import axes_of_infotext, parse_axis

    given = [getattr(arguments, letter) for letter in "xyz"]
    axes = [parse_axis(*_split(text), presets) for text in given if text]
    axes = axes or axes_of_infotext(fields, presets)
    if not axes:
        raise UserError('No axis was given: add one, such as --x "LoRA strength: 0-1 (+0.25)".')
    return axes


def _split(text: str) -> tuple[str, str]:
    name, colon, values = text.partition(":")
    if not colon:
        raise UserError(f'"{text}" is not AXIS: VALUES, such as "Seed: 1, 2, 3".')
    return name, values
