"""Sample pictures on the way: what the LoRA draws at this step."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from lib_rimo.errors import UserError
from lib_rimo.inference.generation import Generator
from lib_rimo.inference.infotext import Settings, save_png
from lib_rimo.sd.checkpoint import Checkpoint
from lib_rimo.sd.size import parse_resolution, whole_cells
from lib_rimo.training.config.options import TrainingOptions

STEPS = 20


def draw_samples(
    checkpoint: Checkpoint,
    options: TrainingOptions,
    step: int,
    captions: list[str],
    say: Callable[[str], None],
) -> Iterator[Path]:
    """Draw every sample prompt with the network that is attached, and give the files.

    Without prompts of the user's the first of the training `captions` is drawn. They lie in
    `output_dir/sample`, named by step and number.
    """
    models = [checkpoint.unet, *checkpoint.text_encoders]
    for model in models:
        model.eval()
    try:
        generator = Generator(checkpoint, say=say)
        for number, settings in enumerate(sample_settings(options, captions)):
            (picture,) = generator.draw(settings)
            name = f"{options.output_name}_{step:06d}_{number:02d}_{settings.seed}.png"
            path = Path(options.output_dir) / "sample" / name
            save_png(picture.image, path, picture.infotext)
            yield path
    finally:
        for model in models:
            model.train()


def sample_settings(options: TrainingOptions, captions: list[str]) -> list[Settings]:
    """What to draw: prompts from a file or the option's own text; raises UserError."""
    text = options.sample_prompts
    if text and Path(text).suffix == ".txt":
        try:
            text = Path(text).read_text(encoding="utf-8-sig")
        except OSError as error:
            raise UserError(
                f"sample_prompts {text} cannot be read ({error.strerror}): check the path."
            ) from None
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    width, height = parse_resolution(options.resolution)
    usual = Settings(
        prompt="",
        width=width,
        height=height,
        steps=STEPS,
        seed=options.seed,
        clip_skip=options.clip_skip,
    )
    return [_with_arguments(line, usual) for line in lines or captions[:1]]


def _with_arguments(line: str, usual: Settings) -> Settings:
    """kohya's form: a prompt, then --n negative, --w, --h, --d seed, --s steps, --l CFG scale."""
    prompt, *rest = re.split(r"\s(?=--[nwhdsl]\s)", line.strip(), maxsplit=1)
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("--n", nargs="*", default=[])
    for letter, default in (("w", usual.width), ("h", usual.height), ("s", usual.steps)):
        parser.add_argument(f"--{letter}", type=int, default=default)
    parser.add_argument("--d", type=int, default=usual.seed)
    parser.add_argument("--l", type=float, default=usual.cfg_scale)
    try:
        given, _ = parser.parse_known_args(shlex.split(rest[0]) if rest else [])
    except (argparse.ArgumentError, ValueError) as error:
        raise UserError(f"The sample prompt {line!r} cannot be read: {error}.") from None
    width, height = whole_cells((given.w, given.h))
    return replace(
        usual,
        prompt=prompt,
        negative_prompt=" ".join(given.n),
        width=width,
        height=height,
        seed=given.d,
        steps=given.s,
        cfg_scale=given.l,
    )
