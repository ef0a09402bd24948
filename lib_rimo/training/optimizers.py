"""Optimizers by kohya's names, and learning rate schedules."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import warnings
from collections.abc import Callable
from typing import Any

import torch
from diffusers.optimization import get_scheduler
from torch.optim.lr_scheduler import LRScheduler

from lib_rimo.errors import UserError
from lib_rimo.training.config.options import TrainingOptions

# kohya's names that pytorch-optimizer spells otherwise.
_ALIASES = {
    "dadaptation": "dadaptadam",
    "dadaptadampreprint": "dadaptadam",
    "dadaptadanip": "dadaptadan",
    "adamwschedulefree": "schedulefreeadamw",
    "sgdschedulefree": "schedulefreesgd",
    "radamschedulefree": "schedulefreeradam",
    "sgdnesterov": "sgd",
    "sgdnesterov8bit": "sgd8bit",
}
# The arguments that the packages which kohya's trainer takes Prodigy and DAdapt* from call so.
_ARGUMENT_ALIASES = {"decouple": "weight_decouple", "use_bias_correction": "bias_correction"}
# Those that find their own step size and take the learning rate as a factor on it.
_SELF_TUNING = ("dadapt", "prodigy")

Notice = Callable[[str], None]


def make_optimizer(
    options: TrainingOptions, groups: list[dict[str, Any]], notice: Notice
) -> torch.optim.Optimizer:
    """Make the optimizer that the options name; `notice` is told what the user should know.

    Raises UserError for a name or an argument that does not exist.
    """
    asked = options.optimizer_type.lower().replace("_", "")
    name = asked
    if _is_bitsandbytes(name) and importlib.util.find_spec("bitsandbytes") is None:
        name = name.removeprefix("paged").removesuffix("8bit").removesuffix("32bit")
        notice(f"bitsandbytes is not installed: {options.optimizer_type} runs as plain {name}.")
    name = _ALIASES.get(name, name)
    if name.startswith(_SELF_TUNING) and max(group["lr"] for group in groups) < 0.01:
        notice(
            f"{options.optimizer_type} finds the learning rate itself: set unet_lr and "
            "text_encoder_lr to 1 and lr_scheduler to constant or cosine."
        )
    arguments = _arguments(options.optimizer_args)
    if asked.startswith("sgdnesterov"):
        arguments = {"momentum": 0.9, "nesterov": True, **arguments}
    make: type[torch.optim.Optimizer] = _optimizer_class(name, options.optimizer_type)
    # Some take any name and ignore it, so ask what they declare.
    known = inspect.signature(make).parameters
    for theirs, ours in _ARGUMENT_ALIASES.items():
        if theirs in arguments and theirs not in known and ours in known:
            arguments[ours] = arguments.pop(theirs)
    if unknown := [argument for argument in arguments if argument not in known]:
        raise UserError(
            f"{options.optimizer_type} does not take {', '.join(unknown)} in optimizer_args: "
            f"it takes {', '.join(argument for argument in known if argument != 'params')}."
        )
    return make(groups, **arguments)


def is_schedule_free(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the optimizer keeps the weights to use apart from those it trains."""
    return hasattr(optimizer, "eval") and hasattr(optimizer, "train")


def make_schedule(
    options: TrainingOptions, optimizer: torch.optim.Optimizer, steps: int
) -> LRScheduler:
    """The learning rate's course over all steps; a warm-up below 1 is a share of them."""
    warmup = options.lr_warmup_steps
    name = options.lr_scheduler
    if is_schedule_free(optimizer):
        name = "constant"
    if name == "constant" and warmup:
        name = "constant_with_warmup"
    schedule: LRScheduler = get_scheduler(
        name,
        optimizer,
        num_warmup_steps=int(warmup * steps if warmup < 1 else warmup),
        num_training_steps=steps,
        num_cycles=options.lr_scheduler_num_cycles,
        power=options.lr_scheduler_power,
    )
    return schedule


def _arguments(texts: list[str]) -> dict[str, Any]:
    arguments = {}
    for text in texts:
        name, equals, value = text.partition("=")
        try:
            arguments[name.strip()] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            raise UserError(
                f"optimizer_args has {text!r}: write name=value, as in weight_decay=0.01."
            ) from None
        if not equals:
            raise UserError(f"optimizer_args has {text!r}: write name=value.")
    return arguments


def _optimizer_class(name: str, asked: str) -> Any:
    if name == "adamw":
        return torch.optim.AdamW  # its fused form is the fastest there is
    if name == "sgd":
        return torch.optim.SGD
    if _is_bitsandbytes(name):
        import bitsandbytes

        return getattr(bitsandbytes.optim, _bitsandbytes_name(name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pytorch_optimizer
    try:
        return pytorch_optimizer.load_optimizer(name)
    except (NotImplementedError, KeyError, ValueError):
        raise UserError(
            f"optimizer_type is {asked!r}: use Lion, AdamW, AdaFactor, Prodigy, DAdaptAdam, "
            "ScheduleFreeAdamW or another name that pytorch-optimizer knows."
        ) from None


def _is_bitsandbytes(name: str) -> bool:
    return name.startswith("paged") or name.endswith("8bit")


def _bitsandbytes_name(name: str) -> str:
    names = (
        *("AdamW8bit", "Lion8bit", "Adam8bit", "SGD8bit"),
        *("PagedAdamW", "PagedAdamW32bit", "PagedAdamW8bit", "PagedLion8bit"),
    )
    for known in names:
        if known.lower() == name:
            return known
    raise UserError(f"bitsandbytes has no {name}: use one of {', '.join(names)}.")
