"""Write `requirements/lock.txt`: every library that is installed, what libraries need too.

One file serves all Pythons and platforms, by markers; the set-up installs within it. With --audit
what it names is compared with the known advisories by pip-audit, which needs a network.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys

from lib_rimo.environment import LOCK, REQUIREMENTS
from lib_rimo.errors import UserError

HELP = "pin the dependencies of dependencies anew, or compare them with advisories"
NEEDS = "test"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument(
        "--upgrade", action="store_true", help="to the newest, not the least change"
    )
    parser.add_argument("--audit", action="store_true", help="only compare with known advisories")


def run(arguments: argparse.Namespace) -> int:
    """Write the lock, or audit it."""
    if arguments.audit:
        return _audit()
    command = [sys.executable, "-m", "uv", "pip", "compile", "--universal", "--quiet"]
    command += ["--python-version", "3.10", "--no-emit-index-url", "--no-annotate"]
    command += ["--custom-compile-command", "python -m lib_rimo lock", "--output-file", str(LOCK)]
    if arguments.upgrade:
        command.append("--upgrade")
    if subprocess.call([*command, "test.txt"], cwd=REQUIREMENTS) != 0:
        raise UserError(
            "The lock could not be written for the reason above: mend the pins in requirements/, "
            "or check the network connection."
        )
    print(LOCK)
    return 0


def _audit() -> int:
    if importlib.util.find_spec("pip_audit") is None:
        raise UserError(
            "pip-audit is not installed: run `.venv/bin/python -m pip install pip-audit` and this "
            "again."
        )
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(LOCK)]
    code = subprocess.call([*command, "--no-deps", "--disable-pip", "--strict"])
    if code != 0:
        raise UserError(
            "The lock is not known to be free of advisories: raise the pins that are named above, "
            "or, where none could be looked up, try again with a network connection."
        )
    return code
