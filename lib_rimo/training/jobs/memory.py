"""What spares memory: the settings to change, those that cost least first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from lib_rimo.messages import Message, in_turn
from lib_rimo.training.config.options import TrainingOptions


@dataclass(frozen=True)
class Saving:
    """One option that spares memory."""

    option: str
    value: Callable[[TrainingOptions], Any]
    """What to set it to."""
    is_possible: Callable[[TrainingOptions], bool]
    phrase: Message
    """What to try, for whom the value cannot be worked out."""


SAVINGS = (
    Saving(
        "gradient_checkpointing",
        lambda options: True,
        lambda options: not options.gradient_checkpointing,
        Message("gradient_checkpointing (somewhat slower)"),
    ),
    Saving(
        "mixed_precision",
        lambda options: "bf16",
        lambda options: options.mixed_precision == "no",
        Message("mixed_precision bf16 or fp16"),
    ),
    Saving(
        "train_batch_size",
        lambda options: 1,
        lambda options: options.train_batch_size > 1,
        Message("a smaller train_batch_size with gradient_accumulation_steps"),
    ),
    Saving(
        "text_encoder_lr",
        lambda options: 0.0,
        lambda options: bool(options.text_encoder_learning_rate),
        Message("text_encoder_lr 0"),
    ),
)
SMALLER = Message("a smaller resolution")


def savings(options: TrainingOptions) -> Iterator[Saving]:
    """Those that these options do not make use of yet."""
    return (saving for saving in SAVINGS if saving.is_possible(options))


def advice(options: TrainingOptions) -> Message:
    """What to try in turn where the memory does not suffice."""
    return in_turn([*(saving.phrase for saving in savings(options)), SMALLER])
