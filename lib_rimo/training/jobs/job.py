"""Runs one training as a job: a folder with its options, events, commands and state."""

from __future__ import annotations

import glob
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from lib_rimo.errors import UserError
from lib_rimo.files import is_full, remove_leftovers
from lib_rimo.messages import Message
from lib_rimo.training.config.job_file import training_folder, write_job
from lib_rimo.training.config.names import check_name
from lib_rimo.training.config.options import TrainingOptions
from lib_rimo.training.events import Command, CommandFolder, Events, Sink, to_file
from lib_rimo.training.jobs.lock import HeldError, hold
from lib_rimo.training.jobs.memory import advice
from lib_rimo.training.loop import StoppedError, train
from lib_rimo.training.tensorboard import to_tensorboard
from lib_rimo.training.validation import find_faults
from lib_rimo.unforeseen import as_user_error


def run_job(
    options: TrainingOptions,
    sinks: Sequence[Sink] = (),
    *,
    messages: Sequence[Message] = (),
    resume: bool = False,
    is_main: bool = True,
) -> Path | None:
    """Train, tell `events.jsonl` and the sinks how it ends, and return the LoRA file.

    None when it was stopped by a command, Ctrl+C or a termination signal; then as at every end
    what was learned is saved. Raises UserError after telling of it.
    """
    if check_name(options.output_name):  # then not even what happens could be written down
        raise UserError(*find_faults(options))
    folder = training_folder(options)
    try:
        # Who looks whether this is running holds the lock for a moment.
        with hold(folder / "lock", seconds=3) if is_main else nullcontext():
            if is_main:
                clear_up(options)
            return _run_alone(folder, options, sinks, messages, resume, is_main)
    except HeldError:
        raise UserError(
            "{name} is being trained already in {folder}: wait for its end, or choose another "
            "name.",
            name=options.output_name,
            folder=options.output_dir,
            about="output_name",
        ) from None


def _run_alone(
    folder: Path,
    options: TrainingOptions,
    sinks: Sequence[Sink],
    messages: Sequence[Message],
    resume: bool,
    is_main: bool,
) -> Path | None:
    commands = CommandFolder(folder / "commands")
    events = Events()
    if is_main:
        events = Events(*sinks, to_file(folder / "events.jsonl"))
        if options.logging_dir:
            try:
                events.sinks += (to_tensorboard(options.logging_dir, options.log_prefix),)
            except UserError as error:
                events.emit("warning", text=str(error))
        write_job(folder / "options.json", options)
    for message in messages:
        events.tell(message)
    try:
        with _stop_on_signals() as asked_to_stop:

            def take() -> set[Command]:
                return commands.take() | ({"stop"} if asked_to_stop.is_set() else set())

            path = train(
                options,
                events,
                folder=folder,
                take_commands=take,
                resume=resume,
            )
    except StoppedError:
        events.emit("stopped")
        return None
    except KeyboardInterrupt:  # a second Ctrl+C before the first step
        events.emit("stopped")
        raise
    except Exception as error:
        mendable = explain(error, options)
        events.fail(mendable or as_user_error(error))
        if mendable is None:
            raise
        raise mendable from error
    events.emit("finished", path=str(path))
    return path


def clear_up(options: TrainingOptions) -> None:
    """Remove what a killed run of this training left of files that it was writing."""
    output, name = Path(options.output_dir), glob.escape(options.output_name)
    remove_leftovers(training_folder(options), "*")
    remove_leftovers(output, f"{name}.safetensors")
    remove_leftovers(output, f"{name}-step{'[0-9]' * 8}.safetensors")
    remove_leftovers(output / "sample", f"{name}_*.png")


def explain(error: Exception, options: TrainingOptions) -> UserError | None:
    """What to tell the user of an error; None for one that is ours to mend."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "out of memory" in str(error):
        return UserError("The memory does not suffice: try {what}.", what=advice(options))
    if isinstance(error, OSError) and is_full(error):
        return UserError("The disk is full: make room, then go on with --resume.")
    if isinstance(error, FileNotFoundError):
        gone = "{file} is gone: put it back, then go on with --resume."
        return UserError(gone, file=error.filename)
    return None


# Ctrl+C, an end asked for from outside, a terminal or a session that is closed.
_STOPPING = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """Within it Ctrl+C and a termination signal set the event; a second one acts as usual.

    A signal that is ignored, as by nohup, stays so.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    previous: dict[int, Any] = {}

    def ask(number: int, _frame: FrameType | None) -> None:
        asked.set()
        signal.signal(number, previous[number])

    for name in _STOPPING:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            previous[number] = signal.signal(number, ask)
    try:
        yield asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
