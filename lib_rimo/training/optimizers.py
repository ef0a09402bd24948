"""Optimizers by kohya's names, and learning rate schedules."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import warnings
from collections.abc import Callable
from typing import Any, cast

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
# Of these, those that set a parameter from where it began rather than move it on.
_ABSOLUTE = ("dadaptadagrad", "dadaptsgd")

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
    arguments = read_arguments(options.optimizer_args, "optimizer_args")
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
    if name == "adafactor":
        return _adafactor(make, groups, arguments, notice)
    optimizer = make(groups, **arguments)
    if name.startswith(_SELF_TUNING):
        scale_steps_by_rate(optimizer, name, options.optimizer_type)
    return optimizer


def scale_steps_by_rate(optimizer: torch.optim.Optimizer, name: str, asked: str) -> None:
    """Let each group of a self-tuning optimizer move by its own rate.

    These optimizers find one step size for all and multiply it with the first group's rate. Here
    they step with the largest rate; of their step a group then goes the share that its own rate is
    of the largest. Raises UserError where positions are not made of steps, so that this is wrong.
    """
    if len({group["lr"] for group in optimizer.param_groups}) == 1:
        return
    if name in _ABSOLUTE:
        raise UserError(
            f"{asked} knows one learning rate for all: give unet_lr, text_encoder_lr and every "
            "block the same, or use Prodigy or DAdaptAdam."
        )
    rates: list[float] = []
    before: list[tuple[torch.nn.Parameter, torch.Tensor, float]] = []

    def take_largest(*_: Any) -> None:
        rates[:] = [group["lr"] for group in optimizer.param_groups]
        before.clear()
        largest = max(rates)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = largest
            if rate < largest:
                before.extend(
                    (parameter, parameter.detach().clone(), rate / largest)
                    for parameter in group["params"]
                )

    def go_the_share(*_: Any) -> None:
        with torch.no_grad():
            for parameter, start, share in before:
                parameter.copy_(torch.lerp(start, parameter, share))
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate

    optimizer.register_step_pre_hook(take_largest)
    optimizer.register_step_post_hook(go_the_share)


def _adafactor(
    make: Any, groups: list[dict[str, Any]], arguments: dict[str, Any], notice: Notice
) -> torch.optim.Optimizer:
    """AdaFactor as kohya's trainer makes it: it finds the rates itself unless told not to."""
    if arguments.get("warmup_init"):
        arguments["relative_step"] = True
    if not arguments.setdefault("relative_step", True):
        return cast(torch.optim.Optimizer, make(groups, **arguments))
    notice(
        "AdaFactor finds the learning rate itself, so unet_lr and text_encoder_lr count only as "
        "0 or not; to use them add relative_step=False scale_parameter=False warmup_init=False "
        "to optimizer_args."
    )
    # It takes no rates then, but schedules and reports want some.
    rates = [group.pop("lr") for group in groups]
    optimizer: torch.optim.Optimizer = make(groups, **arguments)
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    return optimizer


def is_schedule_free(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the optimizer keeps the weights to use apart from those it trains."""
    return hasattr(optimizer, "eval") and hasattr(optimizer, "train")


def make_schedule(
    options: TrainingOptions, optimizer: torch.optim.Optimizer, steps: int
) -> LRScheduler:
    """The learning rate's course over all steps; a warm-up below 1 is a share of them.

    Raises UserError for a name or an argument that does not exist.
    """
    if options.lr_scheduler_type and not is_schedule_free(optimizer):
        return _torchs_schedule(options, optimizer)
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


def _torchs_schedule(options: TrainingOptions, optimizer: torch.optim.Optimizer) -> LRScheduler:
    """kohya's `lr_scheduler_type`: a class of PyTorch's, which is stepped after every step."""
    name = options.lr_scheduler_type.removeprefix("torch.optim.lr_scheduler.")
    make = getattr(torch.optim.lr_scheduler, name, None)
    if not (isinstance(make, type) and issubclass(make, LRScheduler)) or make is LRScheduler:
        raise UserError(
            f"lr_scheduler_type is {options.lr_scheduler_type!r}: use a class of "
            "torch.optim.lr_scheduler, such as CosineAnnealingLR, or leave it empty."
        )
    if name in ("ReduceLROnPlateau", "ChainedScheduler", "SequentialLR", "LambdaLR"):
        raise UserError(f"lr_scheduler_type {name} needs more than numbers: use another.")
    arguments = read_arguments(options.lr_scheduler_args, "lr_scheduler_args")
    try:
        return make(optimizer, **arguments)
    except (TypeError, ValueError) as error:
        raise UserError(f"lr_scheduler_args do not fit {name}: {error}.") from None


def read_arguments(texts: list[str], option: str) -> dict[str, Any]:
    """Values by name from texts like `weight_decay=0.01`; UserError for what is no such text."""
    arguments = {}
    for text in texts:
        name, equals, value = text.partition("=")
        try:
            arguments[name.strip()] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            raise UserError(
                f"{option} has {text!r}: write name=value, as in weight_decay=0.01."
            ) from None
        if not equals:
            raise UserError(f"{option} has {text!r}: write name=value.")
    return arguments


def _optimizer_class(name: str, asked: str) -> Any:
    if name == "adamw":
        return torch.optim.AdamW  # its fused form is the fastest there is
    if name == "sgd":
        return torch.optim.SGD
    if name == "adafactor":  # that of kohya's trainer
        from transformers.optimization import Adafactor

        return Adafactor
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
