"""Run Rimo's test suite; further arguments go to pytest.

`test attack` throws odd, damaged and hostile inputs at all that reads, and counts what gives way;
`test attack --help` says how much of what.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from lib_rimo.environment import ROOT

HELP = "run the test suite"
NEEDS = "test"
PASSES_ALL_ON = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None of its own: everything after the verb goes to pytest, or to the attack."""


def run(arguments: argparse.Namespace) -> int:
    """Run pytest or the attack from the project's root; its exit status is ours."""
    command = ["pytest", *arguments.passed_on]
    if arguments.passed_on[:1] == ["attack"]:
        command = ["tests.attack", *arguments.passed_on[1:]]
    return subprocess.call([sys.executable, "-m", *command], cwd=ROOT)
