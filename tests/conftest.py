"""Settings and fixtures of all tests: no test has a deadline, machines are as slow as they are."""

import os
import shutil

import pytest
from hypothesis import settings

# PyTorch's threads sleep while they wait for each other. By default they wait in a loop, which
# makes small models ten times slower on a machine that does something else too. On an idle one the
# loop is twice as fast, so only tests ask for this.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:  # one of several processes that share the processors
    os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("rimo", deadline=None)
settings.load_profile("rimo")


def pytest_addoption(parser):
    parser.addoption(
        "--attack-scale",
        type=int,
        default=1,
        metavar="N",
        help="how many times as much tests/attack throws at everything that reads",
    )


@pytest.fixture
def attack_scale(request):
    """What the number of generated inputs is to be multiplied by."""
    return request.config.getoption("--attack-scale")


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium, the machine's own where Playwright has none installed.

    To be imported by nobody: each copy of this fixture would start Playwright once more, which
    runs only once in a process.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
    installed = shutil.which("chromium") or shutil.which("google-chrome")
    with playwright.sync_playwright() as started:
        try:
            launched = started.chromium.launch(executable_path=installed, args=["--no-sandbox"])
        except playwright.Error:
            pytest.skip("needs Chromium: install it, or run `playwright install chromium`")
        yield launched
        launched.close()
