"""Sample pictures on the way: what the LoRA draws at this step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lib_rimo.inference.generation import Generator
from lib_rimo.inference.infotext import save_png
from lib_rimo.messages import Tell
from lib_rimo.sd.checkpoint import Checkpoint
from lib_rimo.training.config.options import TrainingOptions
from lib_rimo.training.sample_prompts import sample_settings


def draw_samples(
    checkpoint: Checkpoint,
    options: TrainingOptions,
    step: int,
    captions: list[str],
    tell: Tell,
) -> Iterator[Path]:
    """Draw every sample prompt with the network that is attached, and give the files.

    Without prompts of the user's the first of the training `captions` is drawn. They lie in
    `output_dir/sample`, named by step and number.
    """
    models = [checkpoint.unet, *checkpoint.text_encoders]
    for model in models:
        model.eval()
    try:
        generator = Generator(checkpoint, tell=tell)
        for number, settings in enumerate(sample_settings(options, captions)):
            (picture,) = generator.draw(settings)
            name = f"{options.output_name}_{step:06d}_{number:02d}_{settings.seed}.png"
            path = Path(options.output_dir) / "sample" / name
            save_png(picture.image, path, picture.infotext)
            yield path
    finally:
        for model in models:
            model.train()
