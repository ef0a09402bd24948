"""Check style, formatting, types and the directions of imports of the whole project."""

from __future__ import annotations

import argparse
import subprocess
import sys

from lib_rimo.environment import ROOT

HELP = "check style, formatting, types and imports"
NEEDS = "test"

CHECKS = (
    ("-m", "ruff", "check", "."),
    ("-m", "ruff", "format", "--check", "."),
    ("-m", "mypy"),
    ("-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments: the settings are in pyproject.toml."""


def run(arguments: argparse.Namespace) -> int:
    """Run every check, also after one failed; 0 only where all passed."""
    codes = [subprocess.call([sys.executable, *check], cwd=ROOT) for check in CHECKS]
    failed = [check for check, code in zip(CHECKS, codes, strict=True) if code != 0]
    for check in failed:
        print(f"failed: {' '.join(check)}", file=sys.stderr)
    return int(bool(failed))  # a checker that was killed has a negative code
