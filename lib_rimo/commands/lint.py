"""Check style, formatting and types of the whole project."""

from __future__ import annotations

import argparse
import subprocess
import sys

from lib_rimo.environment import ROOT

HELP = "check style, formatting and types"
NEEDS = "test"

CHECKS = (("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments: the settings are in pyproject.toml."""


def run(arguments: argparse.Namespace) -> int:
    """Run every check, also after one failed; 0 only where all passed."""
    return max(subprocess.call([sys.executable, "-m", *check], cwd=ROOT) for check in CHECKS)
