"""Optimizers by kohya's names, and learning rate schedules."""

from __future__ import annotations

import importlib.util
import inspect
import warnings
from typing import Any, cast

import torch
from diffusers.optimization import get_scheduler
from torch.optim.lr_scheduler import LRScheduler

from lib_rimo.errors import UserError
from lib_rimo.messages import Message, Tell
from lib_rimo.training.config.optimizer_names import (
    ALIASES,
    BITSANDBYTES,
    check_optimizer,
    is_bitsandbytes,
    read_arguments,
)
from lib_rimo.training.config.options import TrainingOptions

# The arguments that the packages which kohya's trainer takes Prodigy and DAdapt* from call so.
_ARGUMENT_ALIASES = {"decouple": "weight_decouple", "use_bias_correction": "bias_correction"}
# Those that find their own step size and take the learning rate as a factor on it.
_SELF_TUNING = ("dadapt", "prodigy")
# Of these, those that set a parameter from where it began rather than move it on.
_ABSOLUTE = ("dadaptadagrad", "dadaptsgd")


def find_optimizer(options: TrainingOptions) -> tuple[str, Any, dict[str, Any]]:
    """The plain name of the optimizer that the options name, its class and its arguments.

    Raises UserError for a name or an argument that does not exist.
    """
    check_optimizer(options.optimizer_type)
    asked = name = options.optimizer_type.lower().replace("_", "")
    if is_bitsandbytes(name) and not has_bitsandbytes():
        name = name.removeprefix("paged").removesuffix("8bit").removesuffix("32bit")
    name = ALIASES.get(name, name)
    arguments = read_arguments(options.optimizer_args, "optimizer_args")
    if asked.startswith("sgdnesterov"):
        arguments = {"momentum": 0.9, "nesterov": True, **arguments}
    make = _optimizer_class(name)
    # Some take any name and ignore it, so ask what they declare.
    known = inspect.signature(make).parameters
    for theirs, ours in _ARGUMENT_ALIASES.items():
        if theirs in arguments and theirs not in known and ours in known:
            arguments[ours] = arguments.pop(theirs)
    if unknown := [argument for argument in arguments if argument not in known]:
        raise UserError(
            "{optimizer} does not take {names} in optimizer_args: it takes {list}.",
            optimizer=options.optimizer_type,
            names=unknown,
            list=[argument for argument in known if argument != "params"],
            about="optimizer_args",
        )
    return name, make, arguments


def make_optimizer(
    options: TrainingOptions, groups: list[dict[str, Any]], tell: Tell
) -> torch.optim.Optimizer:
    """Make the optimizer that the options name; `tell` is told what the user should know.

    Raises UserError for a name or an argument that does not exist.
    """
    name, make, arguments = find_optimizer(options)
    if is_bitsandbytes(options.optimizer_type.lower()) and not has_bitsandbytes():
        tell(
            Message(
                "bitsandbytes is not installed: {optimizer} runs as plain {name}.",
                about="optimizer_type",
                level="warning",
                optimizer=options.optimizer_type,
                name=name,
            )
        )
    if name.startswith(_SELF_TUNING) and max(group["lr"] for group in groups) < 0.01:
        tell(
            Message(
                "{optimizer} finds the learning rate itself: set unet_lr and text_encoder_lr to 1 "
                "and lr_scheduler to constant or cosine.",
                about="unet_lr",
                level="warning",
                optimizer=options.optimizer_type,
            )
        )
    if name == "adafactor":
        return _adafactor(make, groups, arguments, tell)
    optimizer: torch.optim.Optimizer = make(groups, **arguments)
    if name.startswith(_SELF_TUNING):
        scale_steps_by_rate(optimizer, name, options.optimizer_type)
    return optimizer


def has_bitsandbytes() -> bool:
    """Whether the library of the 8-bit optimizers is installed."""
    return importlib.util.find_spec("bitsandbytes") is not None


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
            "{optimizer} knows one learning rate for all: give unet_lr, text_encoder_lr and every "
            "block the same, or use Prodigy or DAdaptAdam.",
            optimizer=asked,
            about="optimizer_type",
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
    make: Any, groups: list[dict[str, Any]], arguments: dict[str, Any], tell: Tell
) -> torch.optim.Optimizer:
    """AdaFactor as kohya's trainer makes it: it finds the rates itself unless told not to."""
    if arguments.get("warmup_init"):
        arguments["relative_step"] = True
    if not arguments.setdefault("relative_step", True):
        return cast(torch.optim.Optimizer, make(groups, **arguments))
    tell(
        Message(
            "AdaFactor finds the learning rate itself, so unet_lr and text_encoder_lr count only "
            "as 0 or not; to use them add relative_step=False scale_parameter=False "
            "warmup_init=False to optimizer_args.",
            about="optimizer_args",
            level="warning",
        )
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
            "lr_scheduler_type is {value}: use a class of torch.optim.lr_scheduler, such as "
            "CosineAnnealingLR, or leave it empty.",
            value=repr(options.lr_scheduler_type),
            about="lr_scheduler_type",
        )
    if name in ("ReduceLROnPlateau", "ChainedScheduler", "SequentialLR", "LambdaLR"):
        raise UserError(
            "lr_scheduler_type {name} needs more than numbers: use another.",
            name=name,
            about="lr_scheduler_type",
        )
    arguments = read_arguments(options.lr_scheduler_args, "lr_scheduler_args")
    try:
        return make(optimizer, **arguments)
    except (TypeError, ValueError) as error:
        raise UserError(
            "lr_scheduler_args do not fit {name}: {error}.",
            name=name,
            error=error,
            about="lr_scheduler_args",
        ) from None


def _optimizer_class(name: str) -> Any:
    if name == "adamw":
        return torch.optim.AdamW  # its fused form is the fastest there is
    if name == "sgd":
        return torch.optim.SGD
    if name == "adafactor":  # that of kohya's trainer
        from transformers.optimization import Adafactor

        return Adafactor
    if is_bitsandbytes(name):
        import bitsandbytes

        (known,) = (known for known in BITSANDBYTES if known.lower() == name)
        return getattr(bitsandbytes.optim, known)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pytorch_optimizer
    return pytorch_optimizer.load_optimizer(name)
