"""What a killed training needs to go on exactly: weights, optimizer, schedule, step.

The data order and all noise come from the seed and the step, so they need no state.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import io
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib_rimo.errors import UserError
from lib_rimo.files import written_beside
from lib_rimo.messages import Message, Tell
from lib_rimo.training.config.job_file import state_files
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


# What a run whose numbers became infinite is advised to change before it goes on.
MENDING_OPTIONS = frozenset({"learning_rate", "unet_lr", "text_encoder_lr", "mixed_precision"})
# Known by what lies there: the pictures' digests, and masks' and captions' with them, or a file's
# content. The same pictures may have moved, or be named from another folder.
FOLDER_OPTIONS = frozenset(
    {"train_data_dir", "reg_data_dir", "conditioning_data_dir", "dataset_config"}
)
FILE_OPTIONS = frozenset({"pretrained_model_name_or_path", "vae", "network_weights"})
_CONTENT = "content "


def write_state(folder: Path, state: dict[str, Any]) -> None:
    """Write the state, whole or not at all; the one before it stays beside it."""
    content = io.BytesIO()  # into a file PyTorch writes without saying what keeps it from it
    torch.save(state, content)
    newest, previous = state_files(folder)
    with written_beside(newest) as beside:
        beside.write_bytes(content.getbuffer())
        if newest.exists():
            newest.replace(previous)


def read_state(folder: Path, tell: Tell) -> dict[str, Any] | None:
    """Read a state, or the one before it where that is damaged, which is told of.

    None where there is none; UserError where each is damaged.
    """
    damaged = False
    for file in state_files(folder):
        if not file.exists():
            continue
        try:
            state = _read(file)
        except Exception:  # a flipped bit may be anywhere, and raise whatever it meets
            damaged = True
            continue
        if damaged:
            tell(
                Message(
                    "The saved state {file} is damaged: the training goes on from the one before "
                    "it, after step {step}.",
                    level="warning",
                    file=state_files(folder)[0].name,
                    step=state["run"][0],
                )
            )
        return state
    if damaged:
        raise UserError(
            "The saved state {file} is damaged: start again without --resume.",
            file=state_files(folder)[0],
        )
    return None


def _read(file: Path) -> dict[str, Any]:
    """A state whose every byte is as it was written; raises anything where it is not."""
    with zipfile.ZipFile(file) as archive:  # PyTorch writes the sums of its parts, but reads past
        if archive.testzip() is not None:
            raise ValueError("its sums differ")
    state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(state["identity"], dict) or int(state["run"][0]) < 0:
        raise ValueError("it is no state of a training")
    return state


def is_sound(state: Any, *, infinite: bool = True) -> bool:
    """Whether all numbers in a part of a state are numbers, `infinite` ones too."""
    if isinstance(state, Tensor):
        if not state.is_floating_point():
            return True
        return not bool(state.isnan().any()) if infinite else bool(state.isfinite().all())
    if isinstance(state, dict):
        return all(is_sound(part, infinite=infinite) for part in state.values())
    is_several = isinstance(state, (list, tuple))
    return not is_several or all(is_sound(part, infinite=infinite) for part in state)


def identity(options: TrainingOptions, data: TrainingSet) -> dict[str, str]:
    """What has to be the same for a run to go on: options as text, and the pictures' digest."""
    named = {
        name: repr(value)
        for name, value in dataclasses.asdict(options).items()
        if name not in FREE_OPTIONS | FOLDER_OPTIONS
    }
    for name in FILE_OPTIONS:
        if path := getattr(options, name):
            named[name] = _content_of(Path(path), _version(Path(path)))
    content = "\n".join(
        f"{entry.digest} {entry.repeats} {entry.fit} {entry.caption}{_digest(entry.mask)}"
        f"{sorted(entry.folder.own.items()) if entry.folder.own else ''}"
        for entry in data.entries
    )
    return {**named, "pictures": hashlib.sha256(content.encode()).hexdigest()}


def _version(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=8)
def _content_of(path: Path, _time: int) -> str:
    """Stands for a file's content: its size, and parts all over it; its name if it is a folder."""
    try:
        size = path.stat().st_size
        digest = hashlib.sha256(str(size).encode())
        with path.open("rb") as file:
            for part in range(_PARTS):
                file.seek(size * part // _PARTS)
                digest.update(file.read(_PART))
    except OSError:
        return repr(str(path))
    return _CONTENT + digest.hexdigest()


_PARTS, _PART = 64, 1 << 16  # bytes; a model of gigabytes is not read for each state


def _digest(mask: Tensor | None) -> str:
    """What of a mask decides the training; nothing where there is none."""
    return "" if mask is None else " " + hashlib.sha256(mask.numpy().tobytes()).hexdigest()


def check_identity(
    saved: dict[str, str], current: dict[str, str], options: TrainingOptions
) -> list[str]:
    """The options that differ as a run may that goes on after it lost its numbers.

    Raises UserError, naming what else differs, where a state is another run's.
    """
    # A state of an older version says nothing of an option that it did not know.
    usual = {name: repr(value) for name, value in dataclasses.asdict(TrainingOptions()).items()}
    differing = [
        name
        for name, value in current.items()
        if (before := saved.get(name, usual.get(name))) != value
        and not (name in FILE_OPTIONS and _is_path_to(before, getattr(options, name)))
    ]
    mended = [name for name in differing if name in MENDING_OPTIONS]
    others = [name for name in differing if name not in MENDING_OPTIONS]
    if others:
        raise other_run(others)
    return mended


def other_run(names: list[str]) -> UserError:
    """The refusal of a state that these options are not those of."""
    return UserError(
        "The run to resume had other {names}: set them back, or start again without "
        "--resume or under another output_name.",
        names=names,
    )


def is_finished(options: TrainingOptions, state: dict[str, Any]) -> bool:
    """Whether a state is of the run with these options, and all its steps are done.

    False also where that is not sure before the models are read.
    """
    saved, told_later = state["identity"], FREE_OPTIONS | FOLDER_OPTIONS | FILE_OPTIONS
    if options.max_train_epochs:
        told_later |= {"max_train_steps"}
    if not options.resolution:
        told_later |= {"resolution"}
    given = dataclasses.asdict(options).items()
    is_this_run = all(saved.get(name) == repr(v) for name, v in given if name not in told_later)
    return is_this_run and repr(state["run"][0]) == saved.get("max_train_steps")


def _is_path_to(before: str | None, path: str) -> bool:
    """Whether an older version's state names the same file, however it wrote the path."""
    try:
        known = ast.literal_eval(before or "")
        return isinstance(known, str) and Path(known).resolve() == Path(path).resolve()
    except (ValueError, SyntaxError, OSError):
        return False
