"""Verbs that the page runs to their end: in a process, with the trainer's libraries."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from lib_rimo.environment import ROOT
from lib_rimo.errors import UserError
from lib_rimo.hosts.training import TrainingHost, check_ready
from lib_rimo.messages import AS_JSON, Message, read_messages
from lib_rimo.training.jobs.queue import child_environment, command_line


def run_verb(host: TrainingHost, arguments: Sequence[str]) -> list[Message]:
    """Run `python -m lib_rimo ...` to its end; what it told. Raises UserError."""
    check_ready(host)
    done = subprocess.run(
        command_line(host.python, list(arguments)),
        cwd=ROOT,
        env={**child_environment(), AS_JSON: "json"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        if messages := read_messages(done.stderr):
            raise UserError(*messages)
        lines = done.stderr.strip().splitlines()
        raise UserError("It broke off: {reason}", reason=lines[-1] if lines else "-")
    return read_messages(done.stdout)
