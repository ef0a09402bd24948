"""What a model is drawn or asked on."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from lib_rimo.errors import UserError
from lib_rimo.sd.file_header import read_header

if TYPE_CHECKING:
    import torch

WORKING_ROOM = 2 * 2**30
"""Bytes of the GPU's memory that a model computes with, beside its weights."""


def choose_device(name: str | None, precision: str | None) -> tuple[str, torch.dtype]:
    """The device that was asked for, or the best there is, and the model's type on it.

    Raises UserError where there is no such device.
    """
    import torch

    if name is None:
        has_mps = torch.backends.mps.is_available()
        name = "cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            'There is no device "{name}" here ({error}); try --device cpu.', name=name, error=error
        ) from error
    kinds = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    return name, kinds[precision or ("fp16" if name.startswith("cuda") else "fp32")]


def choose_device_beside(model: Path) -> tuple[str, torch.dtype]:
    """The best device for a second copy of a model that a WebUI or the page holds already.

    A GPU without room for it is passed over: slower is better than an end without memory.
    """
    import torch

    if torch.cuda.is_available() and torch.cuda.mem_get_info()[0] < room_of(model):
        return choose_device("cpu", None)
    return choose_device(None, None)


def room_of(model: Path) -> int:
    """Bytes that a checkpoint takes on a GPU, in half precision and at work; by its header."""
    try:
        shapes = read_header(model).shapes.values()
    except (OSError, ValueError):  # loading it will tell what is wrong with it
        return 0
    return 2 * sum(math.prod(shape) for shape in shapes) + WORKING_ROOM
