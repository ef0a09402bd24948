"""Job files: TOML or JSON with kohya's option names, in sections or without.

kohya's own configuration files are read as they are, those of the front ends in `dialects/` as they
translate them themselves. What they say that is not supported here is named in a warning, never
silently dropped.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lib_rimo.files import written_beside
from lib_rimo.messages import Message
from lib_rimo.training.config.dataset_config import read_dataset_config
from lib_rimo.training.config.declaration import convert
from lib_rimo.training.config.dialects import as_kohyas
from lib_rimo.training.config.dialects.kohya import as_options, left_open
from lib_rimo.training.config.documents import read_mapping
from lib_rimo.training.config.options import TrainingOptions


def training_folder(options: TrainingOptions) -> Path:
    """Where a training keeps its options, events, commands and state."""
    return Path(options.output_dir) / f"{options.output_name}.job"


def read_job(path: Path) -> tuple[TrainingOptions, list[Message]]:
    """The options of a job file and what to tell of it. Raises UserError, naming the file."""
    return from_mapping(read_mapping(path))


def write_job(path: Path, options: TrainingOptions) -> None:
    """Write a job file (JSON, which needs no library to read) with every option."""
    content = json.dumps(dataclasses.asdict(options), indent=1, ensure_ascii=False)
    with written_beside(path) as beside:
        beside.write_text(content, encoding="utf-8")


def from_mapping(content: Mapping[str, Any]) -> tuple[TrainingOptions, list[Message]]:
    """Options from names and values, and a message for each that could not be taken."""
    messages: list[Message] = []
    given: dict[str, Any] = {}
    flat = flatten(as_kohyas(content, messages))
    if source := flat.get("dataset_config"):
        config = read_dataset_config(str(source))
        given = config.options
        messages += [*config.messages, *_overruled(flat, given, config.name)]
    values = as_options(flat | given, messages)
    options = TrainingOptions(**values)
    is_kohyas = "network_module" in flat  # which every file for kohya's trainer says
    if is_kohyas and (left := left_open(options, values)):
        sentence = "What the file does not say is as in the recipe: {values}."
        messages.append(Message(sentence, values=left, level="warning"))
    return options, messages


def _overruled(flat: Mapping[str, Any], config: Mapping[str, Any], where: str) -> list[Message]:
    """Tell what the dataset's file changes, for there it stands out of sight."""
    same = {declared.name: declared for declared in dataclasses.fields(TrainingOptions)}
    changed = [
        Message(
            "{name} {value} (instead of {before})",
            name=name,
            value=str(config[name]),
            before=str(flat[name]),
        )
        for name in sorted(flat.keys() & config.keys() & same.keys())
        if convert(same[name], flat[name]) != convert(same[name], config[name])
    ]
    if not changed:
        return []
    sentence = "{file} says otherwise, and counts: {values}."
    return [Message(sentence, file=where, values=changed, level="warning")]


def flatten(content: Mapping[str, Any]) -> dict[str, Any]:
    """kohya's sections are for reading only: their names mean nothing."""
    flat: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            flat |= flatten(value)
        else:
            flat[name] = value
    return flat


def state_files(folder: Path) -> tuple[Path, Path]:
    """In a training's folder: what it goes on from, and the state before, kept for damage."""
    return folder / "state.pt", folder / "state-previous.pt"


def has_state(folder: Path) -> bool:
    """Whether there is a state to go on from in a training's folder."""
    return any(file.exists() for file in state_files(folder))
