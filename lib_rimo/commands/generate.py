"""Draw pictures from a prompt.

    python -m lib_rimo generate --prompt "1girl, kimono, <lora:rimochan:1>" --size 448x704

A text from under a picture can be pasted whole as the prompt: its steps, sampler, seed and size are
taken over, and options given beside it win. A tag may weight the LoRA block by block, with numbers
(<lora:rimochan:1:1,1,1,1,1,0.8,0.2,1,1,1,1,1,1,1,1,1,1>), a preset (<lora:rimochan:1:MIDD>) or the
blocks that differ (<lora:rimochan:1:IN07@0.8,IN08@0.2>). A tag that cannot be used is left out and
said. Pictures carry their settings as the WebUI's PNG info does.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lib_rimo.inference.console import (
    add_drawing_arguments,
    open_generator,
    positive,
    read_presets,
    read_settings,
)

HELP = "draw pictures, with block weights right in the prompt"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    add_drawing_arguments(parser)
    parser.add_argument("--count", type=positive, default=1, help="how many pictures (1)")
    parser.add_argument("--batch", type=positive, default=1, help="how many at a time (1)")
    parser.add_argument(
        "--out", type=Path, default=Path("pictures"), metavar="DIR", help="where to (pictures)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Draw, save each picture at once, and say where."""
    from tqdm import tqdm

    from lib_rimo.inference.grid import SCRIPT, next_number
    from lib_rimo.inference.infotext import save_png

    settings, fields = read_settings(arguments)
    if fields.get("Script") == SCRIPT:
        print("The text is of an X/Y/Z plot; one picture is drawn here, `xyz` draws the plot.")
    generator = open_generator(arguments, read_presets(arguments))
    number = next_number(arguments.out)
    batches = -(-arguments.count // arguments.batch)
    with tqdm(total=generator.steps(settings) * batches, unit="step") as bar:
        pictures = generator.draw(
            settings,
            count=arguments.count,
            batch_size=arguments.batch,
            on_step=lambda step: bar.update(),
        )
        for picture in pictures:
            path = arguments.out / f"{number:05}-{picture.settings.seed}.png"
            save_png(picture.image, path, picture.infotext)
            tqdm.write(str(path))
            number += 1
    return 0
