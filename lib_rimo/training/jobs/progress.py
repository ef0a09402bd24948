"""What a training's events add up to: how far it is, its curve, its files, how it ended."""

from __future__ import annotations

import math
import os
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from lib_rimo.messages import Message
from lib_rimo.training.events import Event, events_after

Point = tuple[int, float, float, float]
"""Step, loss, smoothed loss, highest learning rate."""


@dataclass
class Progress:
    """Where a training stands, by its events."""

    phase: str = ""
    step: int = 0
    steps: int = 0
    seconds_left: float | None = None
    seconds_a_step: float | None = None
    """Once enough steps were timed."""
    curve: list[Point] = field(default_factory=list)
    samples: list[tuple[int, str]] = field(default_factory=list)
    """Step and file of each sample picture."""
    signals: list[tuple[int, float, float]] = field(default_factory=list)
    """Step, fit and drift of saved steps."""
    best: tuple[int, str, Message] | None = None
    """The saved step that serves best, its file and why."""
    saved: list[tuple[int, str]] = field(default_factory=list)
    """Step and file of each save."""
    lines: list[str] = field(default_factory=list)
    """What happened, in sentences."""
    messages: list[Message] = field(default_factory=list)
    """What the user should know."""
    end: Event | None = None
    """The event that told of the end; None while it goes on, and when nothing was told."""
    started: float = 0.0
    last_event: float = 0.0
    _file: tuple[int, int] = (0, 0)  # its inode, and when it was last written
    _position: int = 0

    _known: ClassVar[dict[Path, Progress]] = {}
    _reading: ClassVar[threading.Lock] = threading.Lock()

    @classmethod
    def of(cls, path: Path) -> Progress:
        """The progress by an event file; what was added since the last call is read on."""
        try:
            found = path.stat()
            file, size = (found.st_ino, found.st_mtime_ns), found.st_size
        except OSError:
            file, size = (0, 0), 0
        with cls._reading:  # several visitors may look at once
            progress = cls._known.get(path)
            if progress is None or file[0] != progress._file[0] or size < progress._position:
                progress = cls._known[path] = cls()
            if file != progress._file:
                progress._file = file
                with suppress(OSError):
                    events, progress._position = events_after(path, progress._position)
                    for event in events:
                        progress.take(event)
            return progress

    def take(self, event: Event) -> None:
        """Take in one event; one that is not as we write them changes nothing."""
        receive = getattr(self, f"_{event['kind']}", None)
        with suppress(KeyError, TypeError, ValueError, OverflowError, RecursionError):
            time = _number(event["time"])
            if receive is not None:
                receive(event)
            self.last_event = time
            self.started = self.started or time

    def _phase(self, event: Event) -> None:
        phase = _words(event["phase"])
        if "steps" in event:
            self.step, self.steps = _count(event["step"]), _count(event["steps"])
            self._forget_after(self.step)
        self.phase, self.end = phase, None
        self.seconds_left = None
        self.lines.append(f"{phase[:1].upper()}{phase[1:]}")

    def _data(self, event: Event) -> None:
        self.lines += map(_words, event["summary"])

    def _progress(self, event: Event) -> None:
        step, steps = _count(event["step"]), _count(event["steps"])
        left, taken = _number(event["seconds_left"]), event.get("seconds_a_step")
        rate = max(map(_number, event["learning_rates"]), default=0.0)
        point = (step, _number(event["loss"]), _number(event["smoothed_loss"]), rate)
        self.seconds_a_step = _number(taken) if taken else self.seconds_a_step
        self.step, self.steps, self.seconds_left = step, steps, left
        self.curve.append(point)

    def _resumed(self, event: Event) -> None:
        self.lines.append(f"Going on after step {_count(event['step'])}")

    def _warning(self, event: Event) -> None:
        message = Message.from_json(event)
        if message not in self.messages:  # a run that goes on says it again
            self.messages.append(message)
        self.lines.append(f"{message.level.capitalize()}: {message}")

    def _saved(self, event: Event) -> None:
        self._add(self.saved, event)
        self.lines.append(f"Step {event['step']}: saved {Path(event['path']).name}")

    def _signal(self, event: Event) -> None:
        one = (_count(event["step"]), _number(event["fit"]), _number(event["drift"]))
        self.signals = [known for known in self.signals if known[0] < one[0]] + [one]

    def _best(self, event: Event) -> None:
        message = Message.from_json(event)
        self.best = (_count(event["step"]), _words(event["path"]), message)
        self.lines.append(str(message))

    def _sample(self, event: Event) -> None:
        self._add(self.samples, event)

    def _finished(self, event: Event) -> None:
        self.end, self.seconds_left = event, 0.0
        self.lines.append("Finished")

    def _stopped(self, event: Event) -> None:
        self.end = event
        self.lines.append(f"Stopped after step {self.step}")

    def _failed(self, event: Event) -> None:
        text, messages = _words(event["text"]), event.get("messages", [])
        if not isinstance(messages, list):
            raise TypeError
        self.end = event
        self.lines.append(text)

    def _forget_after(self, step: int) -> None:
        """A run that goes on from a saved state does the lost steps again."""
        self.curve = [point for point in self.curve if point[0] <= step]
        self.signals = [signal for signal in self.signals if signal[0] <= step]
        self.best = None

    @staticmethod
    def _add(files: list[tuple[int, str]], event: Event) -> None:
        path = _words(event["path"])
        os.fsencode(path)  # ValueError for what no file can be called
        entry = (_count(event["step"]), path)
        files[:] = [known for known in files if known[1] != entry[1]] + [entry]

    def last_good_file(self) -> tuple[int, Path] | None:
        """The newest LoRA that is still there, with its step."""
        for step, path in reversed(self.saved):
            with suppress(OSError, ValueError):
                if Path(path).exists():
                    return step, Path(path)
        return None

    def as_dict(self, after_step: int = 0) -> dict[str, Any]:
        """For JSON; of the curve only what comes after a step."""
        return {
            "phase": self.phase,
            "step": self.step,
            "steps": self.steps,
            "seconds_left": self.seconds_left,
            "curve": thinned([point for point in self.curve if point[0] > after_step]),
            "samples": self.samples,
            "saved": self.saved,
            "signals": self.signals,
            "best": self.best and [self.best[0], self.best[2].as_json()],
            "messages": [message.as_json() for message in self.messages],
            "last_event": self.last_event,
        }


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**53:
        raise ValueError
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError
    return float(value)


def _words(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise TypeError
    return value


def thinned(points: list[Point], most: int = 1000) -> list[Point]:
    """At most about that many points, evenly picked, the last one among them."""
    stride = -(-len(points) // most) or 1
    return points[(len(points) - 1) % stride :: stride]
