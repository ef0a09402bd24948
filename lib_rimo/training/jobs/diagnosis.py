"""How a training ended, told from its last event or, where it had none, from its process."""

from __future__ import annotations

import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lib_rimo.training.jobs.progress import Progress

FULL = 64 << 20  # bytes free on a disk that cannot take another LoRA and its state

# What Windows calls them: access violation, heap corruption, stack buffer overrun.
_WINDOWS_CRASHES = {0xC0000005, 0xC0000374, 0xC0000409}
_CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGILL}
_SPARING = (
    "close other programs, then resume; what spares most memory for the least is "
    "gradient_checkpointing, then a smaller train_batch_size"
)


@dataclass(frozen=True)
class Ending:
    """How a training ended."""

    kind: Literal["finished", "stopped", "failed", "died"]
    text: str
    """One or two sentences: what happened and what to try."""
    last_good_file: Path | None = None
    last_good_step: int = 0


def diagnose(
    progress: Progress,
    *,
    log: Path,
    can_resume: bool,
    exit_status: int | None,
    memory_ran_out: bool = False,
    disk_full: bool = False,
    unpublished: str = "",
) -> Ending:
    """How it ended.

    `exit_status` is the process's, negative for a signal; None where nobody saw the end.
    `unpublished` is why the LoRA could not be copied to where it is used.
    """
    step, file = progress.last_good_file() or (0, None)
    end = progress.end or {"kind": "died"}
    if end["kind"] == "finished":
        instead = f" Then copy {file} there." if unpublished and file else ""
        return Ending("finished", unpublished + instead, file, step)
    if end["kind"] == "stopped" or not progress.started:
        if not progress.started and exit_status is not None:
            return Ending("failed", f"It could not be started: {_last_line(log)}")
        return Ending("stopped", _go_on("", can_resume), file, step)
    kept = f" The last good file is {file.name}, of step {step}." if file else ""
    if end["kind"] == "failed":
        return Ending("failed", _go_on(end["text"] + kept, can_resume), file, step)
    text = _cause(exit_status, log, memory_ran_out, disk_full)
    return Ending("died", _go_on(text + kept, can_resume), file, step)


def _cause(exit_status: int | None, log: Path, memory_ran_out: bool, disk_full: bool) -> str:
    if disk_full:
        return "The disk is full: make room."
    if exit_status is None:
        return (
            "The training vanished without a word: the machine was switched off, or all its "
            "processes were ended."
        )
    if exit_status in (-9, 137):
        if memory_ran_out:
            return f"The system killed the training because its memory (RAM) ran out: {_SPARING}."
        return "The training was killed from outside, by a person or a task manager."
    if -exit_status in _CRASHES or exit_status & 0xFFFFFFFF in _WINDOWS_CRASHES:
        return (
            "The training crashed outside of Python, mostly a matter of the graphics driver or "
            "of overclocking: update the driver; if it happens again, try mixed_precision no."
        )
    if exit_status < 0:
        return f"The training was ended by the signal {-exit_status}."
    return f"The training broke off: {_last_line(log)}"


def _go_on(text: str, can_resume: bool) -> str:
    if not can_resume:
        return text
    return f"{text} Resume goes on from the last saved state.".strip()


def _last_line(log: Path) -> str:
    """The end of what the process printed, where Python puts what went wrong."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    written = [line.strip() for line in lines if line.strip()]
    return written[-1][:500] if written else "it left no message."


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
