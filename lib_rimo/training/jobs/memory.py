"""What spares memory: the settings to change, those that cost least first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from lib_rimo.messages import Message, in_turn
from lib_rimo.training.config.options import TrainingOptions


@dataclass(frozen=True)
class Saving:
    """One option that spares memory."""

    option: str
    values: Callable[[TrainingOptions], Iterable[Any]]
    """What to set it to, one after another where there are several."""
    is_possible: Callable[[TrainingOptions], bool]
    phrase: Message
    """What to try, for whom the value cannot be worked out."""


CACHE = Saving(
    "cache_text_encoder_outputs",
    lambda options: [True],
    lambda options: not (options.cache_text_encoder_outputs or options.text_encoder_learning_rate),
    Message("cache_text_encoder_outputs"),
)
SAVINGS = (
    CACHE,  # costs nothing, where the text encoders are not trained
    Saving(
        "gradient_checkpointing",
        lambda options: [True],
        lambda options: not options.gradient_checkpointing,
        Message("gradient_checkpointing (somewhat slower)"),
    ),
    Saving(
        "mixed_precision",
        lambda options: ["bf16"],
        lambda options: options.mixed_precision == "no",
        Message("mixed_precision bf16 or fp16"),
    ),
    Saving(
        "train_batch_size",
        lambda options: [1],
        lambda options: options.train_batch_size > 1,
        Message("a smaller train_batch_size with gradient_accumulation_steps"),
    ),
    Saving(
        "fp8_base",
        lambda options: [True],
        lambda options: not options.fp8_base and options.network_type == "lora",
        Message("fp8_base (a little less exact)"),
    ),
    Saving(
        "cpu_offload_checkpointing",
        lambda options: [True],
        lambda options: options.gradient_checkpointing and not options.cpu_offload_checkpointing,
        Message("cpu_offload_checkpointing"),
    ),
    Saving(
        "blocks_to_swap",
        lambda options: range(options.blocks_to_swap + 10, 70, 10),
        lambda options: options.gradient_checkpointing,
        Message("blocks_to_swap (slower)"),
    ),
    Saving(
        "text_encoder_lr",
        lambda options: [0.0],
        lambda options: bool(options.text_encoder_learning_rate),
        Message("text_encoder_lr 0"),
    ),
    CACHE,
)
SMALLER = Saving(  # by how much, goes by the base model
    "resolution", lambda options: (), lambda options: True, Message("a smaller resolution")
)


def savings(options: TrainingOptions) -> Iterator[Saving]:
    """Those that these options do not make use of yet."""
    possible = {saving.option: saving for saving in SAVINGS if saving.is_possible(options)}
    return iter(possible.values())


def advice(options: TrainingOptions) -> Message:
    """What to try in turn where the memory does not suffice."""
    return in_turn([*(saving.phrase for saving in savings(options)), SMALLER.phrase])
