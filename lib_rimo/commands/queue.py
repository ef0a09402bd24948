"""Train the waiting jobs of a queue one after another.

The Train tab starts this by itself, as a process of its own, when a job is queued.
"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "train the jobs that the Train tab has queued"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the folder of the queue."""
    parser.add_argument("folder", type=Path, help="the queue's folder")


def run(arguments: argparse.Namespace) -> int:
    """Run until no job is waiting."""
    from lib_rimo.training.jobs.queue import run_queue

    run_queue(arguments.folder.resolve())
    return 0
