"""What a training tells its watchers, and what they may ask of it.

A job's folder holds `events.jsonl`, to which every event is added as one line of JSON, and takes
commands as empty files in `commands/`: so any number of watchers may come and go, also after a
restart, and none of them can hold the training up.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from lib_rimo.errors import UserError
from lib_rimo.messages import Message
from lib_rimo.text import parse_json

Event = dict[str, Any]
Sink = Callable[[Event], None]
Command = Literal["stop", "save", "sample"]
COMMANDS: tuple[Command, ...] = ("stop", "save", "sample")


class Events:
    """Hands each event to every sink; an event has a `kind`, a `time` and its own values."""

    def __init__(self, *sinks: Sink) -> None:
        self.sinks = sinks

    def emit(self, kind: str, **values: Any) -> None:
        """Tell all sinks of one event; what became of a terminal holds no training up."""
        event: Event = {"kind": kind, "time": round(time.time(), 3), **values}
        for sink in self.sinks:
            with suppress(OSError):
                sink(event)

    def tell(self, message: Message) -> None:
        """Tell of what the user should know and what stops nothing."""
        self.emit("warning", **message.as_json())

    def fail(self, error: UserError) -> None:
        """Tell what ended the training."""
        messages = [message.as_json() for message in error.messages]
        self.emit("failed", text=str(error), messages=messages)


def to_file(path: Path) -> Sink:
    """A sink that adds each event to a file as a line of JSON, at once.

    A full disk costs the line, not the training: what has to be saved says it where it fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(event: Event) -> None:
        line = json.dumps(event, ensure_ascii=False).encode() + b"\n"
        with suppress(OSError), path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":  # a full disk or a kill cut the last one short
                    line = b"\n" + line
            file.write(line)

    return write


def print_json(event: Event) -> None:
    """A sink that prints each event as a line of JSON, for programs that read our output."""
    print(json.dumps(event, ensure_ascii=False), flush=True)


def read_events(path: Path) -> Iterator[Event]:
    """All events of a file so far; a line that is still being written is left for next time."""
    yield from events_after(path, 0)[0]


def events_after(path: Path, position: int) -> tuple[list[Event], int]:
    """The events of a file from a byte on, and the byte to go on from next time.

    Lines that were cut short, or that hold something else, are passed over.
    """
    if not path.exists():
        return [], position
    with path.open("rb") as file:
        file.seek(position)
        lines, _, _ = file.read().rpartition(b"\n")
    if not lines:
        return [], position
    events = []
    for line in lines.split(b"\n"):
        with suppress(ValueError):
            event = parse_json(line)
            if _is_event(event):
                events.append(event)
    return events, position + len(lines) + 1


def _is_event(content: Any) -> bool:
    return (
        isinstance(content, dict)
        and isinstance(content.get("kind"), str)
        and isinstance(content.get("time"), (int, float))
    )


class CommandFolder:
    """Commands to a running training: a file's name in a folder is a command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def give(self, command: Command) -> None:
        """Ask the training to `stop`, `save` or `sample` after its current step."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / command).touch()

    def pending(self) -> set[Command]:
        """The commands given that were not taken yet."""
        return {command for command in COMMANDS if (self.folder / command).exists()}

    def take(self) -> set[Command]:
        """The commands given since the last call."""
        taken = self.pending()
        for command in taken:
            (self.folder / command).unlink(missing_ok=True)
        return taken
