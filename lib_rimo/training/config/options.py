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
from lib_rimo.messages import Message
from lib_rimo.training.config.declaration import check_bounds, convert
from lib_rimo.training.config.declared.background import BackgroundOptions
from lib_rimo.training.config.declared.data import DataOptions
from lib_rimo.training.config.declared.essentials import Essentials
from lib_rimo.training.config.declared.machine import MachineOptions
from lib_rimo.training.config.declared.network import ACTS_IN, NetworkShape
from lib_rimo.training.config.declared.objective import ObjectiveOptions
from lib_rimo.training.config.declared.recipe import Recipe
from lib_rimo.training.config.declared.saving import Saving

GROUPS = {
    "essentials": "What to train, on which pictures, under which name",
    "recipe": "The recipe",
    "network": "The network",
    "data": "Pictures and captions",
    "background": "Subject and background",
    "objective": "The objective",
    "saving": "Saving and samples",
    "machine": "Speed and memory",
}

MOST_DIM = 1024


# A dataclass takes its fields from the last base first.
@dataclass
class TrainingOptions(
    MachineOptions,
    Saving,
    ObjectiveOptions,
    BackgroundOptions,
    DataOptions,
    NetworkShape,
    Recipe,
    Essentials,
):
    """One training, as the user asks for it; `training.validation` refuses what cannot be."""

    def __post_init__(self) -> None:
        faults: list[Message] = []
        for declared in dataclasses.fields(self):
            try:
                setattr(self, declared.name, convert(declared, getattr(self, declared.name)))
            except UserError as error:
                faults += error.messages
        if faults:
            raise UserError(*faults)

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


def _asks(options: TrainingOptions, name: str) -> bool:
    """Whether an option asks for anything: 0 does where none is something else."""
    value = getattr(options, name)
    return value is not None if name == "tlora_min_rank" else bool(value)


def check_values(options: TrainingOptions) -> None:
    """Raise UserError, naming the options, for values that could be trained with by nobody."""
    faults: list[Message] = []
    for name, declared in declared_options().items():
        try:
            check_bounds(declared, getattr(options, name))
        except UserError as error:
            faults += error.messages
    if options.network_type != "lokr":  # where larger ones stand for whole matrices
        faults += [
            Message(
                "{name} is {value}: use at most {most}; only with network_type lokr a larger one "
                "means whole matrices.",
                name=name,
                value=getattr(options, name),
                most=MOST_DIM,
                about=name,
            )
            for name in ("network_dim", "conv_dim")
            if (getattr(options, name) or 0) > MOST_DIM
        ]
    faults += [
        Message(
            "{name} is for network_type {types}, and that is {type}: leave it out.",
            name=name,
            types=list(types),
            type=options.network_type,
            about=name,
        )
        for name, types in ACTS_IN.items()
        if options.network_type not in types and _asks(options, name)
    ]
    if options.full_bf16 and options.mixed_precision != "bf16":
        faults.append(
            Message(
                "full_bf16 wants mixed_precision bf16, and that is {value}: set it, or leave "
                "full_bf16 out.",
                value=options.mixed_precision,
                about="full_bf16",
            )
        )
    if options.min_timestep >= options.max_timestep:
        faults.append(
            Message(
                "min_timestep is {least}, max_timestep {most}: use a smaller min_timestep.",
                least=options.min_timestep,
                most=options.max_timestep,
                about="min_timestep",
            )
        )
    if (
        options.prior_prediction_rate
        and not options.trigger_word.strip()
        and not options.prior_prediction_prompts.strip()
    ):
        faults.append(
            Message(
                "prior_prediction_rate needs captions that do not mean the character: give "
                "trigger_word, which is left out of them, or prior_prediction_prompts.",
                about="prior_prediction_rate",
            )
        )
    if options.max_token_length not in (75, 150, 225):
        faults.append(
            Message(
                "max_token_length is {value}: use 75, 150 or 225.",
                value=options.max_token_length,
                about="max_token_length",
            )
        )
    if not options.unet_learning_rate and not options.text_encoder_learning_rate:
        none = "All learning rates are 0: give unet_lr or text_encoder_lr."
        faults.append(Message(none, about="unet_lr"))
    if faults:
        raise UserError(*faults)


def _first(*rates: float | None) -> float:
    return next((rate for rate in rates if rate is not None), 0.0)
