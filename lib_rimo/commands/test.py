"""Run Rimo's test suite; further arguments go to pytest."""

from __future__ import annotations

import argparse
import subprocess
import sys

from lib_rimo.environment import ROOT

HELP = "run the test suite"
NEEDS = "test"
PASSES_ALL_ON = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None of its own: everything after the verb goes to pytest."""


def run(arguments: argparse.Namespace) -> int:
    """Run pytest from the project's root; its exit status is ours."""
    command = [sys.executable, "-m", "pytest", *arguments.passed_on]
    return subprocess.call(command, cwd=ROOT)
