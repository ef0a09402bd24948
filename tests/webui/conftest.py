"""The suite on a real WebUI.

    RIMO_WEBUI_DIR=... RIMO_WEBUI_PYTHON=... python -m lib_rimo test tests/webui

RIMO_WEBUI_PYTHON is the Python of the WebUI's environment; `install.py --now` is run once with it
before, else what trains is skipped. RIMO_WEBUI_MODEL may name another checkpoint than the embedded
one (which for a Forge is laid out in SD1.5's widths, 1 GB), RIMO_LBW_DIR a copy of
sd-webui-lora-block-weight to compare with, RIMO_WEBUI_ARGUMENTS what stands in for the arguments
that make the WebUI run on the CPU.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from lib_rimo.base_model.publish import MODEL
from tests.webui.folder import ROOT, fill
from tests.webui.server import Server
from tests.webui.wide import widen


@pytest.fixture(scope="session")
def webui() -> Path:
    """The root folder of the WebUI that the suite runs on."""
    if "RIMO_WEBUI_DIR" not in os.environ:
        pytest.skip("needs a WebUI: set RIMO_WEBUI_DIR to its folder")
    return Path(os.environ["RIMO_WEBUI_DIR"])


@pytest.fixture(scope="session")
def host(webui) -> str:
    """The family of that WebUI."""
    return "forge" if (webui / "modules_forge").is_dir() else "a1111"


@pytest.fixture(scope="session")
def usual_model(host, tmp_path_factory) -> Path:
    """The checkpoint that the suite draws with, where a test has no other."""
    model = Path(os.environ.get("RIMO_WEBUI_MODEL", MODEL))
    if not model.exists():
        pytest.skip(f"needs a checkpoint: {model} is not there; set RIMO_WEBUI_MODEL")
    if model == MODEL and host == "forge":
        return widen(tmp_path_factory.mktemp("model") / "rimo-wide.safetensors")
    return model


@pytest.fixture(scope="session")
def make_server(webui, host, usual_model, tmp_path_factory) -> Callable[..., Server]:
    """Starts a WebUI with chosen extensions and arguments, which runs to the end of a `with`."""

    def make(*extensions: Path, arguments: Sequence[str] = (), model: Path = usual_model) -> Server:
        data = fill(tmp_path_factory.mktemp("webui"), model, *extensions)
        python = os.environ.get("RIMO_WEBUI_PYTHON", sys.executable)
        return Server(webui, python, host, data, arguments)

    return make


@pytest.fixture(scope="module")
def start(make_server) -> Iterator[Callable[..., Server]]:
    """Starts WebUIs as `make_server` does, which run to the end of a file: each holds its model."""
    with ExitStack() as servers:
        yield lambda *args, **kwargs: servers.enter_context(make_server(*args, **kwargs))


@pytest.fixture(scope="session")
def usual_server(make_server) -> Iterator[Server]:
    """The WebUI with Rimo that most files share."""
    with make_server(ROOT) as server:
        yield server


@pytest.fixture(scope="module")
def server(usual_server) -> Iterator[Server]:
    """A WebUI with Rimo, in which nothing is left of what other files' tests did."""
    before = usual_server.state()
    yield usual_server
    usual_server.put_back(before)


@pytest.fixture(scope="session")
def lbw() -> Path:
    """The extension that Rimo is compared with."""
    if "RIMO_LBW_DIR" not in os.environ:
        pytest.skip("needs sd-webui-lora-block-weight: set RIMO_LBW_DIR to its folder")
    return Path(os.environ["RIMO_LBW_DIR"])
