"""How a training ended, told from its last event or, where it had none, from its process."""

from __future__ import annotations

import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from lib_rimo.messages import Message, join
from lib_rimo.training.config.options import TrainingOptions
from lib_rimo.training.jobs.memory import advice
from lib_rimo.training.jobs.progress import Progress

FULL = 64 << 20  # bytes free on a disk that cannot take another LoRA and its state

# What Windows calls them: access violation, heap corruption, stack buffer overrun.
_WINDOWS_CRASHES = {0xC0000005, 0xC0000374, 0xC0000409}
_CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGILL}
KILLED = (-9, 137)  # exit statuses: as Python tells of SIGKILL, and as a shell does


Kind = Literal["finished", "stopped", "failed", "died", "damaged"]


@dataclass(frozen=True)
class Ending:
    """How a training ended."""

    kind: Kind
    messages: tuple[Message, ...] = ()
    """What happened and what to try."""
    last_good_file: Path | None = None

    @property
    def text(self) -> str:
        """The messages in English."""
        return join(self.messages)


def diagnose(
    progress: Progress,
    *,
    log: Path,
    can_resume: bool,
    exit_status: int | None,
    options: TrainingOptions | None = None,
    memory_ran_out: bool = False,
    disk_full: bool = False,
    unpublished: Message | None = None,
) -> Ending:
    """How it ended.

    `exit_status` is the process's, negative for a signal; None where nobody saw the end.
    `unpublished` is why the LoRA could not be copied to where it is used.
    """
    step, file = progress.last_good_file() or (0, None)
    end = progress.end or {"kind": "died"}
    messages: list[Message] = []
    if end["kind"] == "finished":
        if unpublished is not None:
            messages.append(unpublished)
            if file:
                messages.append(Message("Then copy {file} there.", file=file, level="note"))
        return Ending("finished", tuple(messages), file)
    resume = [Message("Resume goes on from the last saved state.", level="note")]
    resume = resume if can_resume else []
    if end["kind"] == "stopped" or not progress.started:
        if not progress.started and exit_status is not None:
            why = Message("It could not be started: {reason}", reason=_last_line(log))
            return Ending("failed", (why,), file)
        return Ending("stopped", tuple(resume), file)
    if end["kind"] == "failed":
        messages = [Message.from_json(told) for told in end.get("messages") or [end.get("text")]]
    else:
        messages = [_cause(exit_status, log, memory_ran_out, disk_full, options)]
    if file:
        kept = "The last good file is {file}, of step {step}."
        messages.append(Message(kept, file=file.name, step=step, level="note"))
    return Ending(kind_of_end(progress, exit_status), (*messages, *resume), file)


def kind_of_end(progress: Progress, exit_status: int | None) -> Kind:
    """The kind of end alone, for which no file is read."""
    kind = (progress.end or {"kind": "died"})["kind"]
    if not progress.started and kind != "finished":
        return "stopped" if exit_status is None else "failed"
    return cast(Kind, kind)


def _cause(
    exit_status: int | None,
    log: Path,
    memory_ran_out: bool,
    disk_full: bool,
    options: TrainingOptions | None,
) -> Message:
    if disk_full:
        return Message("The disk is full: make room.")
    if exit_status is None:
        return Message(
            "The training vanished without a word: the machine was switched off, or all its "
            "processes were ended."
        )
    if exit_status in KILLED:
        if memory_ran_out:
            return Message(
                "The system killed the training because its memory (RAM) ran out: close other "
                "programs and resume; if that does not help, try {what}.",
                what=advice(options or TrainingOptions()),
            )
        return Message("The training was killed from outside, by a person or a task manager.")
    if -exit_status in _CRASHES or exit_status & 0xFFFFFFFF in _WINDOWS_CRASHES:
        return Message(
            "The training crashed outside of Python, mostly a matter of the graphics driver or "
            "of overclocking: update the driver; if it happens again, try mixed_precision no."
        )
    if exit_status < 0:
        return Message("The training was ended by the signal {n}.", n=-exit_status)
    return Message("The training broke off: {reason}", reason=_last_line(log))


def _last_line(log: Path) -> str | Message:
    """The end of what the process printed, where Python puts what went wrong."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    written = [line.strip() for line in lines if line.strip()]
    return written[-1][:500] if written else Message("it left no message.")


def count_memory_kills() -> int:
    """How many processes Linux has killed for want of memory since it started; else 0."""
    total = 0
    for path in ("/proc/vmstat", "/sys/fs/cgroup/memory.events"):
        try:
            fields = (line.split() for line in Path(path).read_text().splitlines())
            total += sum(int(field[1]) for field in fields if field[0] == "oom_kill")
        except (OSError, ValueError, IndexError):
            continue
    return total


def disk_is_full(folder: Path, needed: int = FULL) -> bool:
    """Whether there is no room for what is needed, by default another LoRA and its state."""
    return shutil.disk_usage(folder).free < needed
