"""Every option of a training, declared once: type, default, bounds and help.

The command line, the job file and the tab are made from these declarations, which stand by group
in `declared/`. Names and meanings are those of kohya's trainer; the defaults are the recipe for
very few pictures.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

from lib_rimo.errors import UserError
from lib_rimo.training.config.declaration import check_bounds, convert
from lib_rimo.training.config.declared.data import DataOptions
from lib_rimo.training.config.declared.essentials import Essentials
from lib_rimo.training.config.declared.machine import MachineOptions
from lib_rimo.training.config.declared.network import NetworkShape
from lib_rimo.training.config.declared.objective import ObjectiveOptions
from lib_rimo.training.config.declared.recipe import Recipe
from lib_rimo.training.config.declared.saving import Saving

GROUPS = {
    "essentials": "What to train, on which pictures, under which name",
    "recipe": "The recipe",
    "network": "The network",
    "data": "Pictures and captions",
    "objective": "The objective",
    "saving": "Saving and samples",
    "machine": "Speed and memory",
}

MOST_DIM = 1024


# A dataclass takes its fields from the last base first.
@dataclass
class TrainingOptions(
    MachineOptions, Saving, ObjectiveOptions, DataOptions, NetworkShape, Recipe, Essentials
):
    """One training, as the user asks for it; `validate` says what cannot be."""

    def __post_init__(self) -> None:
        for declared in dataclasses.fields(self):
            setattr(self, declared.name, convert(declared, getattr(self, declared.name)))

    def validate(self) -> None:
        """Raise UserError, naming the option and what it may be, for what cannot be trained."""
        check_values(self)
        if not self.pretrained_model_name_or_path:
            raise UserError(
                "No base model was named: give --pretrained_model_name_or_path MODEL.safetensors."
            )
        if not (self.train_data_dir or self.dataset_config):
            raise UserError("No pictures were named: give --train_data_dir FOLDER.")
        if not self.output_name or set(self.output_name) & set('/\\:*?"<>|'):
            raise UserError(
                f"output_name is {self.output_name!r}: use a name that can be a file's and "
                'stand in <lora:NAME:1>, without / \\ : * ? " < > |.'
            )

    @property
    def unet_learning_rate(self) -> float:
        """What the UNet's layers learn with: `unet_lr`, else `learning_rate`."""
        return _first(self.unet_lr, self.learning_rate)

    @property
    def text_encoder_learning_rate(self) -> float:
        """What the text encoders' layers learn with: `text_encoder_lr`, else `learning_rate`."""
        return _first(self.text_encoder_lr, self.learning_rate)


@functools.cache
def declared_options() -> dict[str, dataclasses.Field[Any]]:
    """Every option's declaration by its name."""
    return {declared.name: declared for declared in dataclasses.fields(TrainingOptions)}


def check_values(options: TrainingOptions) -> None:
    """Raise UserError, naming the option, for a value that could be trained with by nobody."""
    for declared in dataclasses.fields(options):
        check_bounds(declared, getattr(options, declared.name))
    if options.network_type != "lokr":  # where larger ones stand for whole matrices
        for name in ("network_dim", "conv_dim"):
            if (getattr(options, name) or 0) > MOST_DIM:
                raise UserError(
                    f"{name} is {getattr(options, name)}: use at most {MOST_DIM}; only with "
                    "network_type lokr a larger one means whole matrices."
                )
    if options.max_token_length not in (75, 150, 225):
        raise UserError(f"max_token_length is {options.max_token_length}: use 75, 150 or 225.")
    if not options.unet_learning_rate and not options.text_encoder_learning_rate:
        raise UserError("All learning rates are 0: give unet_lr or text_encoder_lr.")


def _first(*rates: float | None) -> float:
    return next((rate for rate in rates if rate is not None), 0.0)
