"""Sample pictures on the way: what the LoRA draws at this step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lib_rimo.errors import UserError
from lib_rimo.inference.generation import Generator
from lib_rimo.inference.infotext import save_png
from lib_rimo.messages import Message, Tell, as_warning
from lib_rimo.sd.checkpoint import Checkpoint
from lib_rimo.text import shortened
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
    `output_dir/sample`, named by step and number. One that cannot be drawn costs itself only, and
    is told of: a training is worth more than its samples.
    """
    models = [checkpoint.unet, *checkpoint.text_encoders]
    for model in models:
        model.eval()
    try:
        generator = Generator(checkpoint, tell=tell)
        for number, settings in enumerate(sample_settings(options, captions, tell)):
            name = f"{options.output_name}_{step:06d}_{number:02d}_{settings.seed}.png"
            path = Path(options.output_dir) / "sample" / name
            try:
                (picture,) = generator.draw(settings)
                save_png(picture.image, path, picture.infotext)
            except Exception as error:  # whatever drawing raises, memory that ran out too
                tell(_not_drawn(settings.prompt, error))
                continue
            yield path
    except UserError as error:  # the file of prompts was there when the training started
        for message in error.messages:
            tell(as_warning(message))
    finally:
        for model in models:
            model.train()


def _not_drawn(prompt: str, error: Exception) -> Message:
    reason: object = f"{type(error).__name__}: {str(error)[:200]}"
    if isinstance(error, UserError):
        reason = error.messages[0]
    return Message(
        "The sample prompt {prompt} was not drawn. {reason}",
        about="sample_prompts",
        level="warning",
        prompt=repr(shortened(prompt)),
        reason=reason,
    )
