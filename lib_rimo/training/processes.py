"""What the processes of one training, a GPU each, tell each other."""

from __future__ import annotations

from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import nn

from lib_rimo.training.events import COMMANDS, Command

TakeCommands = Callable[[], set[Command]]


def average_gradients(accelerator: Accelerator, parameters: list[nn.Parameter]) -> None:
    """Give all processes the mean of their gradients, in one exchange."""
    if accelerator.num_processes == 1:
        return
    gradients = [
        torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for parameter in parameters
    ]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    flat = accelerator.reduce(flat, "mean")
    position = 0
    for parameter in parameters:
        size = parameter.numel()
        parameter.grad = flat[position : position + size].view_as(parameter)
        position += size


def shared_commands(accelerator: Accelerator, take_commands: TakeCommands) -> set[Command]:
    """The commands that the first process was given, the same for all."""
    commands = take_commands() if accelerator.is_main_process else set()
    if accelerator.num_processes == 1:
        return commands
    flags = torch.tensor([float(name in commands) for name in COMMANDS], device=accelerator.device)
    given = accelerator.reduce(flags, "sum").tolist()
    return {name for name, flag in zip(COMMANDS, given, strict=True) if flag}
