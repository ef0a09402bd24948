"""The recipe, and how a LoRA of the reproduction may differ from it."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib_rimo.demo.prompts import LORA
from lib_rimo.sd import embedded
from lib_rimo.training.config.options import TrainingOptions


@dataclass(frozen=True)
class Recipe:
    """One LoRA to be trained: the recipe but for `changes`.

    `name` is short and says what is changed; it becomes a folder's name.
    """

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    factor: float = embedded.LEARNING_RATE_FACTOR
    seed: int = 1
    augmented: bool = True  # trained on twenty pictures, not on the five as they are
    scenes: int = 0  # so many places, drawn by the base model, behind the twenty

    def options(self, model: Path, pictures: Path, output: Path) -> TrainingOptions:
        """The recipe as the trainer's options, whose defaults it is."""
        defaults = TrainingOptions()
        settings: dict[str, Any] = {
            "pretrained_model_name_or_path": str(model),
            "train_data_dir": str(pictures),
            "output_dir": str(output),
            "output_name": LORA,
            "resolution": ",".join(map(str, embedded.RESOLUTION)),
            "min_bucket_reso": 64,
            "unet_lr": defaults.unet_learning_rate * self.factor,
            "text_encoder_lr": defaults.text_encoder_learning_rate * self.factor,
            "seed": self.seed,
            "device": "cpu",
        }
        return TrainingOptions(**(settings | dict(self.changes)))


def train_command(options: TrainingOptions) -> str:
    """The command line that trains the same LoRA: the options that are not the defaults."""
    parts = ["python -m lib_rimo train"]
    for declared in dataclasses.fields(TrainingOptions):
        value = getattr(options, declared.name)
        default = [] if isinstance(value, list) else declared.default
        if value != default and value is not None:
            words = value if isinstance(value, list) else [value]
            parts.append(f"--{declared.name} {shlex.join(map(str, words))}")
    return " ".join(parts)
