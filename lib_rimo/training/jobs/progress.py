"""What a training's events add up to: how far it is, its curve, its files, how it ended."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

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
    saved: list[tuple[int, str]] = field(default_factory=list)
    """Step and file of each save."""
    lines: list[str] = field(default_factory=list)
    """What happened, in sentences."""
    warnings: list[str] = field(default_factory=list)
    end: Event | None = None
    """The event that told of the end; None while it goes on, and when nothing was told."""
    started: float = 0.0
    last_event: float = 0.0
    _position: int = 0

    _known: ClassVar[dict[Path, Progress]] = {}
    _reading: ClassVar[threading.Lock] = threading.Lock()

    @classmethod
    def of(cls, path: Path) -> Progress:
        """The progress by an event file; read on from where the last call ended."""
        with cls._reading:  # several visitors may look at once
            progress = cls._known.get(path)
            if progress is None or not path.exists() or path.stat().st_size < progress._position:
                progress = cls._known[path] = cls()
            events, progress._position = events_after(path, progress._position)
            for event in events:
                progress.take(event)
            return progress

    def take(self, event: Event) -> None:
        """Take in one event."""
        self.last_event = event["time"]
        self.started = self.started or event["time"]
        receive = getattr(self, f"_{event['kind']}", None)
        if receive is not None:
            receive(event)

    def _phase(self, event: Event) -> None:
        self.phase, self.end = event["phase"], None
        self.seconds_left = None
        if "steps" in event:
            self.step, self.steps = event["step"], event["steps"]
            self._forget_after(self.step)
        self.lines.append(f"{self.phase[:1].upper()}{self.phase[1:]}")

    def _data(self, event: Event) -> None:
        self.lines += event["summary"]

    def _progress(self, event: Event) -> None:
        self.step, self.steps = event["step"], event["steps"]
        self.seconds_left = event["seconds_left"]
        self.seconds_a_step = event.get("seconds_a_step") or self.seconds_a_step
        rate = max(event["learning_rates"], default=0.0)
        self.curve.append((self.step, event["loss"], event["smoothed_loss"], rate))

    def _resumed(self, event: Event) -> None:
        self.lines.append(f"Going on after step {event['step']}")

    def _warning(self, event: Event) -> None:
        self.warnings.append(event["text"])
        self.lines.append(f"Warning: {event['text']}")

    def _saved(self, event: Event) -> None:
        self._add(self.saved, event)
        self.lines.append(f"Step {event['step']}: saved {Path(event['path']).name}")

    def _sample(self, event: Event) -> None:
        self._add(self.samples, event)

    def _finished(self, event: Event) -> None:
        self.end, self.seconds_left = event, 0.0
        self.lines.append("Finished")

    def _stopped(self, event: Event) -> None:
        self.end = event
        self.lines.append(f"Stopped after step {self.step}")

    def _failed(self, event: Event) -> None:
        self.end = event
        self.lines.append(event["text"])

    def _forget_after(self, step: int) -> None:
        """A run that goes on from a saved state does the lost steps again."""
        self.curve = [point for point in self.curve if point[0] <= step]

    @staticmethod
    def _add(files: list[tuple[int, str]], event: Event) -> None:
        entry = (event["step"], event["path"])
        files[:] = [known for known in files if known[1] != entry[1]] + [entry]

    def last_good_file(self) -> tuple[int, Path] | None:
        """The newest LoRA that is still there, with its step."""
        for step, path in reversed(self.saved):
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
            "warnings": self.warnings,
            "last_event": self.last_event,
        }


def thinned(points: list[Point], most: int = 1000) -> list[Point]:
    """At most about that many points, evenly picked, the last one among them."""
    stride = -(-len(points) // most) or 1
    return points[(len(points) - 1) % stride :: stride]
