"""One training that was asked for, as its folder tells: options, status, progress, end.

A folder holds `job.json` (the options), `status.json`, `log.txt` and all that the training writes.
Files are read again only when they have changed, so that many ended jobs cost nothing to look at.
A file that is damaged costs what it says only: the job is shown as damaged, with the reason.
"""

from __future__ import annotations

import copy
import errno
import json
import math
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from lib_rimo.errors import UserError
from lib_rimo.files import written_beside
from lib_rimo.messages import Message
from lib_rimo.text import parse_json
from lib_rimo.training.config.job_file import has_state, read_job
from lib_rimo.training.config.names import check_name
from lib_rimo.training.config.options import TrainingOptions
from lib_rimo.training.events import Command, CommandFolder
from lib_rimo.training.jobs.diagnosis import Ending, diagnose, disk_is_full, kind_of_end
from lib_rimo.training.jobs.lock import is_held
from lib_rimo.training.jobs.progress import Progress
from lib_rimo.training.jobs.published import Published

State = Literal["waiting", "running", "finished", "stopped", "failed", "died", "damaged"]
UNFINISHED: tuple[State, ...] = ("stopped", "failed", "died")
PHASES = ("waiting", "running", "ended")


@dataclass(frozen=True)
class Status:
    """What the queue knows of a job beside what its training tells."""

    phase: Literal["waiting", "running", "ended"] = "waiting"
    added: float = 0.0
    started: float = 0.0
    ended: float = 0.0
    resume: bool = False
    publish_to: str = ""
    """Folder that gets a copy of the LoRA whenever it was saved; empty for none."""
    exit_status: int | None = None
    """The process's; negative for a signal, None where nobody was there to see its end."""
    memory_ran_out: bool = False
    disk_full: bool = False
    unpublished: dict[str, Any] = field(default_factory=dict)
    """The message why the LoRA could not be copied to `publish_to`; empty where it was."""

    @classmethod
    def from_json(cls, content: Any) -> Status:
        """What `asdict` gave, of this version or another; ValueError for anything else."""
        if not isinstance(content, dict):
            raise ValueError("it holds no names and values")
        known = {name: content[name] for name in content.keys() & {f.name for f in fields(cls)}}
        if isinstance(known.get("unpublished"), str):  # before there were messages
            text = known.pop("unpublished")
            known |= {"unpublished": {"text": text}} if text else {}
        for name, value in known.items():
            usual = getattr(cls(), name) if name != "unpublished" else {}
            if not _is_like(value, usual):
                raise ValueError(f"{name} is {str(value)[:40]!r}")
        if known.get("phase", "waiting") not in PHASES:
            raise ValueError(f"phase is {str(known['phase'])[:40]!r}")
        return cls(**known)


def _is_like(value: Any, usual: Any) -> bool:
    if usual is None:
        return value is None or (type(value) is int and abs(value) < 2**33)
    if isinstance(usual, float):
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return is_number and 0 <= value < 1e12 and math.isfinite(value)
    return type(value) is type(usual)


@dataclass(frozen=True)
class Snapshot:
    """What a job's two files said when they were read."""

    options: TrainingOptions
    status: Status
    damage: Message | None = None
    """Why one of the files could not be read."""


class Job:
    """One training: what was asked for, and what can be asked of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def id(self) -> str:
        """The name that the queue knows the job by; later jobs sort after earlier ones."""
        return self.folder.name

    @property
    def snapshot(self) -> Snapshot:
        """What the job's files say now."""
        options, status, damage = None, None, []
        try:
            options = _OPTIONS.read(self.folder / "job.json", _options_of)
        except _UNREADABLE as error:
            damage.append(self._damage("job.json", error))
        try:
            status = _STATUSES.read(self.folder / "status.json", _status_of)
        except _UNREADABLE as error:
            damage.append(self._damage("status.json", error))
        return Snapshot(
            options or TrainingOptions(output_name=self.id),
            status or Status(phase="ended", added=_time_of(self.folder)),
            damage[0] if damage else None,
        )

    def _damage(self, name: str, error: BaseException) -> Message:
        reason: object = str(error)[:200] or type(error).__name__
        if isinstance(error, UserError):
            reason = error.messages[0]
        elif isinstance(error, OSError) and error.strerror:
            reason = error.strerror
        return Message(
            "{file} of this training cannot be read ({reason}): it cannot go on. What it has saved "
            "lies in {folder}; Remove deletes that too.",
            file=name,
            reason=reason,
            folder=self.folder,
        )

    @property
    def options(self) -> TrainingOptions:
        """What was asked for; the defaults, named as the folder, where that cannot be read."""
        return copy.copy(self.snapshot.options)

    @property
    def status(self) -> Status:
        """What the queue knows."""
        return self.snapshot.status

    def note(self, **changes: Any) -> None:
        """Take down changes of the status."""
        content = json.dumps(asdict(replace(self.status, **changes)), indent=1, ensure_ascii=False)
        with written_beside(self.folder / "status.json") as beside:
            beside.write_text(content, encoding="utf-8")

    @property
    def training_folder(self) -> Path:
        """Where the training keeps its events, its commands and its state."""
        return self.folder / f"{self.snapshot.options.output_name}.job"

    @property
    def lora(self) -> Path:
        """The file that the training writes at its end and at every save."""
        return self.folder / f"{self.snapshot.options.output_name}.safetensors"

    @property
    def lora_in_use(self) -> Path | None:
        """The LoRA where it is used from, else where it was written; None while there is none."""
        copied = Path(self.status.publish_to) / self.lora.name
        places = [copied] if self.status.publish_to else []
        return next((place for place in (*places, self.lora) if place.exists()), None)

    @property
    def log(self) -> Path:
        """What the process printed beside its events."""
        return self.folder / "log.txt"

    @property
    def can_resume(self) -> bool:
        """Whether there is a state to go on from."""
        return has_state(self.training_folder)

    def is_alive(self) -> bool:
        """Whether a process trains this job, whoever started it."""
        return is_held(self.training_folder / "lock")

    def progress(self) -> Progress:
        """What the training told so far."""
        return Progress.of(self.training_folder / "events.jsonl")

    def ending(self, progress: Progress | None = None) -> Ending:
        """How an ended job ended, and what to try where it did not end well."""
        now = self.snapshot
        if now.damage is not None:
            return Ending("damaged", (now.damage,))
        status = now.status
        # On a full disk not even the runner can take down how it ended.
        full = status.disk_full or (status.exit_status is None and disk_is_full(self.folder))
        return diagnose(
            progress or self.progress(),
            log=self.log,
            can_resume=self.can_resume,
            exit_status=status.exit_status,
            options=now.options,
            memory_ran_out=status.memory_ran_out,
            disk_full=full,
            unpublished=Message.from_json(status.unpublished) if status.unpublished else None,
        )

    def state(self, progress: Progress | None = None) -> State:
        """Where the job stands."""
        now = self.snapshot
        if now.damage is not None:
            return "damaged"
        if now.status.phase == "waiting":
            return "waiting"
        if now.status.phase == "running" and (self.is_alive() or self.has_runner()):
            return "running"
        return kind_of_end(progress or self.progress(), now.status.exit_status)

    def has_runner(self) -> bool:
        """Whether the queue's runner is alive."""
        return is_held(self.folder.parent / "runner.lock")

    def give(self, command: Command) -> None:
        """Ask a running training to stop, save or sample; a waiting one can be stopped only."""
        state = self.state()
        if state == "running":
            CommandFolder(self.training_folder / "commands").give(command)
        elif state == "waiting" and command == "stop":
            self.note(phase="ended", ended=time.time())
        else:
            raise UserError(
                "The job {job} is not running: there is nothing to {command}.",
                job=self.id,
                command=Message(command),
            )

    def publish(self) -> bool:
        """Copy the LoRA to where it is used, if it is newer than the copy; whether it was.

        Raises UserError where there is no room for it, or a file that was not published from here.
        """
        folder = self.status.publish_to
        if not folder or not self.lora.exists():
            return False
        copied = Path(folder) / self.lora.name
        if copied.exists() and copied.stat().st_mtime_ns == self.lora.stat().st_mtime_ns:
            return False
        published = Published(self.folder.parent)
        if not published.owns(copied):
            raise UserError(
                "{file} lies in {folder} already and is not of this training, so it was left as it "
                "is: rename it, or the LoRA.",
                file=copied.name,
                folder=folder,
            )
        with written_beside(copied) as beside:
            if shutil.disk_usage(copied.parent).free < self.lora.stat().st_size:
                raise OSError(errno.ENOSPC, "")  # at once: who cannot publish tries it every second
            shutil.copy2(self.lora, beside)
            published.note(copied, beside)
        return True


_UNREADABLE = (UserError, OSError, ValueError, TypeError, RecursionError, MemoryError)
Content = TypeVar("Content")


class Files(Generic[Content]):
    """What files hold, read again only where one has changed; for several threads."""

    MOST = 1000

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int, int], Content]] = {}
        self._reading = threading.Lock()

    def read(self, path: Path, read: Callable[[Path], Content]) -> Content:
        """What `read` makes of a file, now or when it last changed; raises what `read` raises."""
        found = path.stat()
        version = (found.st_mtime_ns, found.st_size, found.st_ino)
        with self._reading:
            known = self._known.get(path)
            if known is None or known[0] != version:
                if len(self._known) >= self.MOST:
                    self._known.clear()
                known = self._known[path] = (version, read(path))
            return known[1]


_OPTIONS: Files[TrainingOptions] = Files()
_STATUSES: Files[Status] = Files()


def _options_of(path: Path) -> TrainingOptions:
    options, _ = read_job(path)
    if faults := check_name(options.output_name):
        raise UserError(*faults)
    return options


def _status_of(path: Path) -> Status:
    return Status.from_json(parse_json(path.read_text(encoding="utf-8")))


def _time_of(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0
