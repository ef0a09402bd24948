"""Which build of PyTorch this machine gets: the one place that chooses it.

Only the standard library is used here, since this runs before anything is installed.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from lib_rimo.errors import UserError

VARIABLE = "RIMO_TORCH"
_INDEX = "https://download.pytorch.org/whl/"


@dataclass(frozen=True)
class Build:
    """A build of PyTorch."""

    name: str
    index: str | None
    """Where pip finds it; None for the package index's own build."""


def builds(platform: str = sys.platform) -> dict[str, Build]:
    """What can be asked for. On Linux the package index's own build is the one for CUDA."""
    on_linux = platform.startswith("linux")
    on_mac = platform == "darwin"
    return {
        "cpu": Build("the CPU", None if not on_linux else f"{_INDEX}cpu"),
        "cuda": Build("NVIDIA GPUs (CUDA)", None if on_linux else f"{_INDEX}cu130"),
        "rocm": Build("AMD GPUs (ROCm)", f"{_INDEX}rocm7.2"),
        **({"mps": Build("Apple GPUs (MPS)", None)} if on_mac else {}),
        "default": Build(
            "the CPU and NVIDIA GPUs" if on_linux else "the CPU (and Apple GPUs)", None
        ),
    }


def chosen(platform: str = sys.platform) -> Build:
    """The build for this machine, or the one that RIMO_TORCH asks for.

    RIMO_TORCH is cpu, cuda, rocm, mps, default, or the address of a package index.
    """
    known = builds(platform)
    asked = os.environ.get(VARIABLE, "").strip()
    if asked.startswith(("https://", "http://", "file://")):
        return Build(f"what {asked} holds", asked)
    if asked:
        if asked not in known:
            raise UserError(
                f"{VARIABLE} is {asked!r}: set it to one of {', '.join(known)}, or to the address "
                "of a package index with builds of PyTorch."
            )
        return known[asked]
    if platform == "darwin":
        return known["mps"]
    if shutil.which("nvidia-smi") or Path("/proc/driver/nvidia").exists():
        return known["cuda"]
    if platform.startswith("linux"):
        # The package index's own build would bring gigabytes of CUDA's libraries.
        return known["rocm" if Path("/dev/kfd").exists() else "cpu"]
    return known["default"]


def pip_options() -> list[str]:
    """The options that let pip find the chosen build, ahead of the index's own.

    For an installation of PyTorch alone: pip looks in such an index for everything else as well,
    which takes long where it cannot be reached.
    """
    index = chosen().index
    return [] if index is None else ["--extra-index-url", index]


def requirement(lines: list[str]) -> str:
    """The line among requirements that pins PyTorch."""
    return next(line for line in lines if line.startswith("torch=="))
