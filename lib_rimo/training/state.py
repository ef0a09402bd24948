"""What a killed training needs to go on exactly: weights, optimizer, schedule, step.

The data order and all noise come from the seed and the step, so they need no state.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib_rimo.errors import UserError
from lib_rimo.files import written_beside
from lib_rimo.training.config.options import TrainingOptions
from lib_rimo.training.data.dataset import TrainingSet

# Options that may change between a run and its continuation: they decide where things are, how
# much is saved and how fast it goes, not what is learned.
FREE_OPTIONS = frozenset(
    {
        "output_dir",
        "save_every_n_steps",
        "save_every_n_epochs",
        "save_state_every_n_steps",
        "save_precision",
        "sample_every_n_steps",
        "sample_every_n_epochs",
        "sample_at_first",
        "sample_sampler",
        "save_last_n_steps",
        "save_last_n_epochs",
        "logging_dir",
        "log_prefix",
        "sample_prompts",
        "training_comment",
        "gradient_checkpointing",
        "cpu_offload_checkpointing",
        "cache_text_encoder_outputs",
        "blocks_to_swap",
        "cache_latents_to_disk",
        "device",
    }
)


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write the state, whole or not at all."""
    content = io.BytesIO()  # into a file PyTorch writes without saying what keeps it from it
    torch.save(state, content)
    with written_beside(path) as beside:
        beside.write_bytes(content.getbuffer())


def read_state(path: Path) -> dict[str, Any] | None:
    """Read a state; None where there is none; UserError for one that is damaged."""
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(
            "The saved state {file} is damaged: start again without --resume.", file=path
        ) from error
    return state


def identity(options: TrainingOptions, data: TrainingSet) -> dict[str, str]:
    """What has to be the same for a run to go on: options as text, and the pictures' digest."""
    named = {
        name: repr(value)
        for name, value in dataclasses.asdict(options).items()
        if name not in FREE_OPTIONS
    }
    content = "\n".join(
        f"{entry.digest} {entry.repeats} {entry.fit} {entry.caption}{_digest(entry.mask)}"
        for entry in data.entries
    )
    return {**named, "pictures": hashlib.sha256(content.encode()).hexdigest()}


def _digest(mask: Tensor | None) -> str:
    """What of a mask decides the training; nothing where there is none."""
    return "" if mask is None else " " + hashlib.sha256(mask.numpy().tobytes()).hexdigest()


def check_identity(saved: dict[str, str], current: dict[str, str]) -> None:
    """Raise UserError, naming what differs, where a state is another run's."""
    # A state of an older version says nothing of an option that it did not know.
    usual = {name: repr(value) for name, value in dataclasses.asdict(TrainingOptions()).items()}
    differing = [name for name in current if saved.get(name, usual.get(name)) != current[name]]
    if differing:
        raise UserError(
            "The run to resume had other {names}: set them back, or start again without "
            "--resume or under another output_name.",
            names=differing,
        )
