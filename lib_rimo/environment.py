"""Puts up Rimo's own environment, `.venv` beside the package, and runs the command there.

Only the standard library is used here: this is what runs on a bare Python. A WebUI imports it at
each start, so what only an installation needs is imported there.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from lib_rimo import pytorch_build
from lib_rimo.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
REQUIREMENTS = ROOT / "requirements"
LOCK = REQUIREMENTS / "lock.txt"
# A set of requirements and the sets that hold all of it.
HOLDERS = {
    "trainer": ("trainer", "ui", "demo", "test"),
    "ui": ("ui", "test"),
    "demo": ("demo", "test"),
    "tagger": ("tagger", "test"),
    "test": ("test",),
}

# What an older `.venv` may hold that gets into the way: another package of the module cv2, and what
# does not go together with today's Pillow.
SUPERSEDED = ("opencv-contrib-python-headless", "animeface")


def python_of(environment: Path) -> Path:
    """The interpreter inside a virtual environment."""
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def is_active() -> bool:
    """Whether this process runs in Rimo's own environment."""
    return Path(sys.prefix).resolve() == VENV.resolve()


def is_brought_along() -> bool:
    """Whether the user brings the libraries themselves (a container, a conda environment)."""
    return os.environ.get("RIMO_ENVIRONMENT") == "current" or is_installed()


def is_installed() -> bool:
    """Whether this is an installed wheel, whose dependencies pip has installed with it."""
    return not REQUIREMENTS.is_dir()


def page_files() -> Path:
    """The folder of `javascript`, `localizations` and `style.css`: the WebUI wants them on top."""
    return Path(sys.prefix) / "share" / "rimo" if is_installed() else ROOT


def check_python() -> None:
    """Raise UserError for a Python that the pinned libraries have no wheels for."""
    version = sys.version_info[:2]
    if version < (3, 10) or (version > (3, 13) and not is_brought_along()):
        raise UserError(
            f"Rimo needs Python 3.10 to 3.13 and this is {sys.version.split()[0]}: "
            "start it with one of those, for example `python3.11 -m lib_rimo ...`."
        )


def is_prepared(needs: str) -> bool:
    """Whether `.venv` has what `requirements/<needs>.txt` pins, or more."""
    wanted = _fingerprint()
    stamps = (_stamp(name) for name in HOLDERS[needs])
    return python_of(VENV).exists() and any(
        stamp.exists() and stamp.read_text() == wanted for stamp in stamps
    )


def prepare(needs: str) -> None:
    """Install `requirements/<needs>.txt` into `.venv` unless that was done before.

    The stamp is written last, so that an interrupted installation goes on at the next call.
    Raises UserError where the installation fails.
    """
    if is_prepared(needs):
        return
    import subprocess

    print(
        f"Setting up Rimo's own environment in {VENV} (once; 2 GB or more), with PyTorch for "
        f"{pytorch_build.chosen().name} (to choose, set {pytorch_build.VARIABLE}: see --help).",
        flush=True,
    )
    make_virtual_environment(VENV)
    pip = [str(python_of(VENV)), "-m", "pip", "install", "--disable-pip-version-check"]
    uninstall = [str(python_of(VENV)), "-m", "pip", "uninstall", "--quiet", "--yes", *SUPERSEDED]
    subprocess.call(uninstall, stderr=subprocess.DEVNULL)
    torch = pytorch_build.requirement((REQUIREMENTS / "trainer.txt").read_text().splitlines())
    for requirements in (
        [torch, *pytorch_build.pip_options()],
        ["-r", str(REQUIREMENTS / f"{needs}.txt")],
    ):
        if subprocess.call([*pip, *requirements, "-c", str(LOCK)]) != 0:
            raise UserError(
                "The installation above did not end well: check the network connection and the "
                "free disk space, then run the same command again; it goes on where it stopped."
            )
    _stamp(needs).write_text(_fingerprint())


def make_virtual_environment(folder: Path) -> None:
    """Make a virtual environment with pip, or mend one that an interruption left without.

    Raises UserError where this Python cannot: Debian ships it without ensurepip.
    """
    import importlib.util
    import subprocess
    import venv

    def has_pip() -> bool:
        command = [str(python_of(folder)), "-m", "pip", "--version"]
        return python_of(folder).exists() and not subprocess.call(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    if has_pip():
        return
    if importlib.util.find_spec("ensurepip") is None:
        version = ".".join(map(str, sys.version_info[:2]))
        raise UserError(
            f"This Python cannot make a virtual environment, since it lacks ensurepip: install "
            f"the package for it (on Debian and Ubuntu `sudo apt install python{version}-venv`) "
            "and run the same command again."
        )
    try:
        venv.create(folder, with_pip=True, clear=folder.exists())
    except (subprocess.CalledProcessError, OSError) as error:
        raise UserError(
            f"The virtual environment {folder} could not be made ({error}): check the free disk "
            "space and that the folder can be written to, then run the same command again."
        ) from error


def run_inside(arguments: list[str]) -> int:
    """Run `python -m lib_rimo <arguments>` in `.venv`; returns its exit status."""
    command = [str(python_of(VENV)), "-m", "lib_rimo", *arguments]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    if os.name != "nt":  # exec on Windows detaches from the console
        sys.stdout.flush()
        os.execve(command[0], command, environment)
    import subprocess

    return subprocess.call(command, env=environment)


def _stamp(needs: str) -> Path:
    return VENV / f"rimo-{needs}.stamp"


def _fingerprint() -> str:
    pins = b"".join(path.read_bytes() for path in sorted(REQUIREMENTS.glob("*.txt")))
    return hashlib.sha256(pins).hexdigest()
