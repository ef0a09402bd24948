"""What this machine can compute with, as far as an estimate needs it."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from typing import Literal

from lib_rimo.messages import Message


@dataclass(frozen=True)
class Machine:
    """The device that a training would use."""

    kind: Literal["cpu", "cuda", "mps"]
    name: Message
    memory: float
    """Bytes that a training may use: all of a GPU's, since the WebUI's model is moved away; of the
    machine's own memory, what is free."""
    guessed_speed: float
    """Operations a second that a training is likely to reach."""


def this_machine(device: str = "auto") -> Machine:
    """The device that `device` (auto, cpu, cuda or mps) means here."""
    import torch

    if device in ("auto", "cuda") and torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        # A third of what the multiprocessors could do in half precision, at a usual clock.
        speed = properties.multi_processor_count * 1024 * 1.5e9 / 3
        return Machine("cuda", Message(properties.name), float(properties.total_memory), speed)
    if device in ("auto", "mps") and torch.backends.mps.is_available():
        return Machine("mps", Message("the Mac's GPU"), free_memory(), 2e12)
    cores = os.cpu_count() or 1
    name = Message("the CPU ({kind}, {n} cores)", kind=platform.machine(), n=cores)
    return Machine("cpu", name, free_memory(), cores * 1.5e10)


def free_memory() -> float:
    """Bytes of memory that programs may still take."""
    import psutil

    return float(psutil.virtual_memory().available)
