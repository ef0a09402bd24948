"""The trainer's libraries beside a WebUI's own, in a folder of the extension.

A virtual environment on top of the WebUI's: what is installed there comes first, what the WebUI
has and what is good enough is used from there, so that torch need not be there twice. Nothing of
the WebUI's environment is changed. Only the standard library is used here, since this runs before
the WebUI does.
"""

from __future__ import annotations

import hashlib
import site
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_rimo import pytorch_build
from lib_rimo.environment import REQUIREMENTS, ROOT, make_virtual_environment, python_of
from lib_rimo.errors import UserError
from lib_rimo.messages import Message

if TYPE_CHECKING:
    import subprocess

# What the trainer runs with though newer versions are what it is tested with. All other libraries
# have to be as new as the ones in requirements/trainer.txt.
# Each with the version from which it will do and, if any, the one from which it no longer does.
GOOD_ENOUGH: dict[str, tuple[str, str | None]] = {
    "torch": ("2.4", None),
    "numpy": ("1.26", None),
    "pillow": ("10.1", None),  # whose own font can be had in any size
    "safetensors": ("0.4.2", None),
    "tqdm": ("4.60", None),
    "opencv-python-headless": ("4.7", "5"),
}
# OpenCV comes under four names, which all install the module cv2.
SAME = {
    "opencv-python-headless": (
        "opencv-python",
        "opencv-contrib-python",
        "opencv-contrib-python-headless",
    ),
}


_ONNX = "onnxruntime"
# What the trainer has no use for, but what its libraries would import if they saw the WebUI's, of
# whatever age that is. What the environment has itself is seen.
HIDDEN = (
    *("flax", _ONNX, "peft", "tensorflow", "timm"),
    *("torchaudio", "torchvision", "xformers"),
)

_TORCH = f"torch=={GOOD_ENOUGH['torch'][0]}"


MEGABYTES = 511  # what is installed on top of a WebUI's own torch
MEGABYTES_APART = 3000  # with a torch of the trainer's own
_SIGN_OF_LIFE = 2.0  # seconds


@dataclass(frozen=True)
class Installation:
    """How far an installation of the trainer's libraries is."""

    seconds: float
    """Since it began."""
    megabytes: int
    """What the folder holds by now."""
    expected: int
    """About what it will hold."""

    def message(self) -> Message:
        """What to tell of it."""
        return Message(
            "The trainer's libraries are being installed: {n} of about {expected} MB after "
            "{seconds} s.",
            n=self.megabytes,
            expected=self.expected,
            seconds=round(self.seconds),
            level="note",
        )


class TrainerEnvironment:
    """The environment that trainings of this WebUI run in."""

    def __init__(self) -> None:
        # WebUIs that share the extension's folder get one each.
        name = hashlib.sha256(sys.prefix.encode()).hexdigest()[:8]
        self.folder = ROOT / ".trainer" / name
        self.python = python_of(self.folder)
        self._stamp = self.folder / "rimo.stamp"
        self._seen = self.folder / "rimo.seen"
        self._apart = self.folder / "rimo.apart"
        # Beside the folder, which may be made anew: when the installation that goes on has begun.
        self._going_on = self.folder.with_suffix(".installing")

    def is_ready(self) -> bool:
        """Whether everything is installed, for the WebUI's libraries as they are now."""
        if not self.python.exists() or not self._stamp.exists():
            return False
        # Every start of the WebUI asks, and nothing was installed or removed since most others.
        glance = _glance()
        if self._seen.exists() and self._seen.read_text(encoding="utf-8") == glance:
            return True
        is_ready = self._stamp.read_text(encoding="utf-8") == self._fingerprint()
        if is_ready:
            self._seen.write_text(glance, encoding="utf-8")
        return is_ready

    def is_apart(self) -> bool:
        """Whether nothing of the WebUI's can be used: its torch is too old, or it was tried.

        A torch of the trainer's own would not go together with the WebUI's torchvision.
        """
        return self._apart.exists() or not _is_met(_TORCH)

    def missing(self) -> list[str]:
        """The requirements to install."""
        return [line for line in requirements() if self.is_apart() or not _is_met(line)]

    def prepare(self) -> None:
        """Install what is missing, unless that was done before; raises UserError.

        The stamp is written last, so that an interrupted installation goes on at the next call.
        """
        while self.installation() is not None:  # another process is at it
            time.sleep(_SIGN_OF_LIFE)
        if self.is_ready():
            return
        with self._telling():
            self._install()

    def prepare_onnx(self) -> None:
        """Install onnxruntime too, which trainings do without; raises UserError."""
        if (self._libraries() / _ONNX).is_dir():
            return
        pin = next(line for line in requirements("tagger") if line.startswith(_ONNX))
        with self._telling():
            self._pip_install([pin])
            self._see_host()

    def installation(self) -> Installation | None:
        """The installation that goes on, in whatever process."""
        try:
            begun = float(self._going_on.read_text(encoding="utf-8"))
            if time.time() - self._going_on.stat().st_mtime > 10 * _SIGN_OF_LIFE:
                return None  # its process is gone
        except (OSError, ValueError):
            return None
        expected = MEGABYTES_APART if self.is_apart() else MEGABYTES
        return Installation(time.time() - begun, _bytes_in(self.folder) // 1_000_000, expected)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Let other processes see, within, that an installation goes on."""
        over = threading.Event()

        def give_signs() -> None:
            while not over.wait(_SIGN_OF_LIFE):
                self._going_on.touch()

        self._going_on.parent.mkdir(parents=True, exist_ok=True)
        self._going_on.write_text(str(time.time()), encoding="utf-8")
        signs = threading.Thread(target=give_signs, daemon=True)
        signs.start()
        try:
            yield
        finally:
            over.set()
            signs.join()
            self._going_on.unlink(missing_ok=True)

    def _install(self) -> None:
        make_virtual_environment(self.folder)
        self._see_host()
        missing = self.missing()
        if self.is_apart():
            self._pip_install([pytorch_build.requirement(missing), *pytorch_build.pip_options()])
        self._pip_install(missing)
        self._check()
        self._stamp.write_text(self._fingerprint(), encoding="utf-8")

    def _pip_install(self, lines: list[str]) -> None:
        pip = [str(self.python), "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
        quick = ["--retries", "1", "--timeout", "15"]
        done = _run([*pip, *quick, *lines])
        if done.returncode:
            raise UserError(
                "The trainer's libraries could not be installed: check the network connection and"
                " the free disk space, then try again in the Train tab ({last_line})",
                last_line=_last_line(done.stderr),
            )

    def _check(self) -> None:
        """See whether the trainer can be imported; raises UserError."""
        done = _run([str(self.python), "-c", "import lib_rimo.training.jobs.job"])
        if done.returncode == 0:
            return
        reason = _last_line(done.stderr)
        if self.is_apart():
            raise UserError(
                "The trainer's libraries are installed but do not work ({reason})", reason=reason
            )
        self._apart.touch()
        raise UserError(
            "The WebUI's own libraries do not go together with the trainer's ({reason}): the "
            "Train tab offers to install all of them for the trainer alone (about 3 GB).",
            reason=reason,
        )

    def _see_host(self) -> None:
        """Let the WebUI's libraries be found after the environment's own, where they are used."""
        libraries = self._libraries()
        path = libraries / "webui.pth"
        if self.is_apart():
            path.unlink(missing_ok=True)
        else:
            hidden = tuple(name for name in HIDDEN if not (libraries / name).is_dir())
            hide = f"import sys; sys.modules.update(dict.fromkeys({hidden!r}))"
            path.write_text("\n".join([*_library_folders(), hide, ""]), encoding="utf-8")

    def _libraries(self) -> Path:
        """Where the environment's own libraries are."""
        where = "import sysconfig; print(sysconfig.get_path('purelib'))"
        return Path(_run([str(self.python), "-c", where]).stdout.strip())

    def _fingerprint(self) -> str:
        """Names what was installed and on top of what: a WebUI's update changes it."""
        lines = [sys.prefix, sys.version, *requirements(), "installed:", *self.missing()]
        return "\n".join(lines)


def _bytes_in(folder: Path) -> int:
    """What a folder's files hold, as far as they are there while they are counted."""
    held = 0
    with suppress(OSError):
        for path in folder.rglob("*"):
            with suppress(OSError):
                held += path.lstat().st_size
    return held


def _library_folders() -> list[str]:
    """Where the WebUI's libraries are: in its environment, and wherever that sends on to.

    Which is to an environment under it, or to what the user installed for themselves.
    """
    sent_to = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    return list(dict.fromkeys([*site.getsitepackages(), *sent_to]))


def _glance() -> str:
    """Changes with whatever is installed, and is read much faster than what that is."""
    folders = map(Path, _library_folders())
    times = [str(folder.stat().st_mtime_ns) for folder in folders if folder.exists()]
    return "\n".join([sys.prefix, sys.version, *requirements(), repr(GOOD_ENOUGH), *times])


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    import subprocess

    return subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason was given"])[-1]


def requirements(needs: str = "trainer") -> list[str]:
    """The pins of requirements/NEEDS.txt itself, not of the files that it builds on."""
    text = (REQUIREMENTS / f"{needs}.txt").read_text(encoding="utf-8")
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith(("#", "-"))]


def _is_met(line: str) -> bool:
    """Whether a pinned requirement is met, closely enough, by what runs here."""
    import importlib.metadata

    requirement_type, version_type = _packaging()
    requirement = requirement_type(line)
    if requirement.marker is not None and not requirement.marker.evaluate(
        {"sys_platform": sys.platform}
    ):
        return True
    least, below = GOOD_ENOUGH.get(requirement.name, (None, None))
    for name in (requirement.name, *SAME.get(requirement.name, ())):
        try:
            present = version_type(importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            continue
        pin = next(iter(requirement.specifier)).version
        if present >= version_type(least or pin) and (
            below is None or present < version_type(below)
        ):
            return True
    return False


def _packaging() -> tuple[Any, Any]:
    """Return packaging's Requirement and Version: pip has them where the WebUI does not."""
    try:
        from packaging.requirements import Requirement
        from packaging.version import Version
    except ImportError:
        from pip._vendor.packaging.requirements import Requirement  # type: ignore
        from pip._vendor.packaging.version import Version  # type: ignore
    return Requirement, Version
