"""Verbs that the page runs to their end: in a process, with the trainer's libraries."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO

from lib_rimo.environment import ROOT
from lib_rimo.errors import UserError
from lib_rimo.hosts.training import TrainingHost, check_ready
from lib_rimo.messages import AS_JSON, Message, read_messages
from lib_rimo.text import parse_json
from lib_rimo.training.jobs.queue import child_environment, command_line
from lib_rimo.ui.replies import Reply


def start_verb(
    host: TrainingHost, arguments: Sequence[str], errors: IO[str], stdin: int | None = None
) -> subprocess.Popen[str]:
    """Start `python -m lib_rimo ...`, whose lines are to be read; messages are JSON in them.

    What it writes to stderr goes into the file `errors`.
    """
    return subprocess.Popen(
        command_line(host.python, list(arguments)),
        cwd=ROOT,
        env={**child_environment(), AS_JSON: "json"},
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=errors,
        encoding="utf-8",
    )


@dataclass
class _Running:
    """One verb that goes on."""

    progress: Reply | None = None
    is_to_stop: bool = False
    process: subprocess.Popen[str] | None = None
    printed: list[str] = field(default_factory=list)
    """Its lines, without those that told how far it is."""

    def take(self, line: str) -> None:
        """Take in one line that it printed."""
        try:
            event = parse_json(line)
        except ValueError:  # a plain line
            event = None
        if isinstance(event, dict) and event.get("kind") == "progress":
            told = ("what", "done", "total", "seconds_left")
            self.progress = {name: event[name] for name in told}
        else:
            self.printed.append(line)


class Verbs:
    """Runs verbs, and knows those that go on by the ticket of the request that each is for."""

    def __init__(self, host: TrainingHost) -> None:
        self._host = host
        self._running: dict[str, _Running] = {}

    def run(self, arguments: Sequence[str], ticket: str = "") -> list[Message]:
        """Run `python -m lib_rimo ...` to its end; what it told. Raises UserError.

        Under its `ticket`, one of the caller's own, it can be watched and stopped meanwhile.
        """
        check_ready(self._host)
        running = _Running()
        if ticket:
            self._running[ticket] = running
        try:
            code, errors = self._follow(running, arguments)
        finally:
            self._running.pop(ticket, None)
        if code and running.is_to_stop:
            raise UserError("Stopped; asked for again, it goes on.")
        if code:
            if messages := read_messages(errors):
                raise UserError(*messages)
            lines = errors.strip().splitlines()
            raise UserError("It broke off: {reason}", reason=lines[-1] if lines else "-")
        return read_messages("".join(running.printed))

    def do_verb(self, asked: Reply) -> Reply:
        """How far the verb of a `ticket` is; null where that is not known."""
        running = self._running.get(str(asked["ticket"]))
        return {"progress": running and running.progress}

    def do_stop_verb(self, asked: Reply) -> Reply:
        """Stop the verb of a `ticket`; the request that it is for is refused then."""
        running = self._running.get(str(asked["ticket"]))
        if running is not None:
            running.is_to_stop = True
            if running.process is not None:
                running.process.terminate()
        return {}

    def _follow(self, running: _Running, arguments: Sequence[str]) -> tuple[int, str]:
        """Start the process and read what it prints; its exit code, and what went to stderr."""
        with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
            process = start_verb(self._host, arguments, errors)
            with process:
                running.process = process
                if running.is_to_stop:  # while it was being started
                    process.terminate()
                assert process.stdout is not None
                for line in process.stdout:
                    running.take(line)
            errors.seek(0)
            return process.returncode, errors.read()
