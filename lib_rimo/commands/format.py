"""Put every file into the project's format, and mend what ruff can mend by itself."""

from __future__ import annotations

import argparse
import subprocess
import sys

from lib_rimo.environment import ROOT

HELP = "format the source and mend what can be mended by itself"
NEEDS = "test"

STEPS = (("ruff", "check", "--fix", "."), ("ruff", "format", "."))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments: the settings are in pyproject.toml."""


def run(arguments: argparse.Namespace) -> int:
    """Change the files in place; 0 only where nothing is left to be mended by hand."""
    codes = [subprocess.call([sys.executable, "-m", *step], cwd=ROOT) for step in STEPS]
    return int(any(codes))
