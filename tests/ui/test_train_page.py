"""The Train tab in a browser, on the standalone's page, training for real on a narrow model.

With RIMO_SCREENSHOTS=FOLDER every state is also kept as a picture, to be looked at.

Not part of the suite yet: the first test fails at its last step, "Try it", and the others have not
been seen to pass. RIMO_TRAIN_PAGE=1 runs them.
"""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from lib_rimo.environment import ROOT
from tests.inference.narrow import write_narrow_checkpoint

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        "RIMO_TRAIN_PAGE" not in os.environ, reason="not passing yet; RIMO_TRAIN_PAGE=1 runs it"
    ),
]
pytest.importorskip("gradio", reason="needs Gradio, which requirements/ui.txt has")
pytest.importorskip("playwright.sync_api", reason="needs Playwright")

PICTURES = ROOT / "lib_rimo" / "demo" / "rimochan"
PATIENCE = 300_000  # milliseconds; a second where the machine has nothing else to do


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The standalone's page, served by a process of its own with a home of its own."""
    home = tmp_path_factory.mktemp("home")
    (home / "models").mkdir()
    write_narrow_checkpoint(home / "models" / "aaa-narrow.safetensors", "sd1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "lib_rimo", "ui", "--home", str(home), "--no-browser"]
    with (home / "ui.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=ROOT,
            env={**os.environ, "RIMO_ENVIRONMENT": "current"},
            stdout=log,
            stderr=log,
        )
    address = f"http://127.0.0.1:{port}"
    for _ in range(600):
        assert process.poll() is None, (home / "ui.log").read_text()
        try:
            urllib.request.urlopen(address, timeout=5).close()
            break
        except OSError:
            time.sleep(0.5)
    yield address
    process.terminate()
    process.wait(30)
    for child in trainers(home):
        child.kill()


def trainers(home):
    """The processes that train or run the queue of this home."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "lib_rimo" in words and any(str(home / "jobs") in word for word in words):
            found.append(process)
    return found


class Tab:
    """The Train tab, as somebody uses it."""

    def __init__(self, page, address):
        self.page = page
        page.set_default_timeout(PATIENCE)
        page.set_viewport_size({"width": 1600, "height": 1200})
        page.goto(address)
        self.wait_open()

    def wait_open(self):
        self.page.wait_for_selector(".rimo-train input[name=network_dim]")

    def keep(self, name):
        folder = os.environ.get("RIMO_SCREENSHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=f"{folder}/{name}.png", full_page=True)

    def drop_pictures(self):
        files = [str(path) for path in sorted(PICTURES.iterdir())]
        self.page.set_input_files(".rimo-train input[type=file][multiple]", files)
        self.wait(
            "document.querySelectorAll('.rimo-gallery:not(.rimo-small) .rimo-chips').length == 5"
        )
        self.wait("!document.querySelector('.rimo-busy')")

    def set(self, name, value):
        self.page.evaluate(
            """([name, value]) => {
                const input = document.querySelector(`.rimo-train [name=${name}]`);
                input.value = value;
                input.dispatchEvent(new Event("input"));
            }""",
            [name, value],
        )

    def set_up(self, name, steps):
        """A training that is as small as can be."""
        for option, value in {
            "output_name": name,
            "max_train_steps": steps,
            "resolution": "64",
            "min_bucket_reso": "64",
            "network_dim": "4",
            "save_every_n_steps": "20",
            "save_state_every_n_steps": "1",
        }.items():
            self.set(option, str(value))

    def train(self):
        self.page.click(".rimo-start:not([disabled])")
        self.wait("document.querySelector('.rimo-problem:not([hidden])') === null")

    def wait(self, condition):
        self.page.wait_for_function(condition, timeout=PATIENCE)

    def wait_for_state(self, state):
        self.page.wait_for_selector(f".rimo-job[data-state={state}]")

    def wait_for_step(self, step):
        place = "document.querySelector('.rimo-place').textContent"
        self.wait(f"+({place}.match(/\\d+/)?.[0] || 0) >= {step}")

    def click(self, text):
        self.page.click(f".rimo-job .rimo-button:visible:text-is('{text}')")

    def text(self, selector):
        return self.page.text_content(selector)


@pytest.fixture
def tab(page, address):
    return Tab(page, address)


@pytest.fixture
def home(address, tmp_path_factory):
    return max(tmp_path_factory.getbasetemp().glob("home*"))


def test_from_five_pictures_to_a_lora_that_can_be_tried(tab, home):
    tab.keep("1-empty")
    tab.drop_pictures()
    tab.set("trigger_word", "rimochan")
    tab.keep("2-pictures")

    tab.set("augment_size", "64,96")
    tab.page.click("text=Make twenty")
    tab.wait("document.querySelectorAll('.rimo-small .rimo-tile').length == 20")
    tab.keep("3-twenty")
    tab.page.hover(".rimo-small .rimo-tile:nth-child(3)")
    tab.page.click(".rimo-small .rimo-tile:nth-child(3) .rimo-cross")
    tab.wait("document.querySelectorAll('.rimo-small .rimo-tile').length == 19")

    tab.set_up("first", 60)
    tab.wait("/memory/.test(document.querySelector('.rimo-train').textContent)")
    tab.train()
    tab.wait_for_state("running")
    tab.wait_for_step(5)
    tab.keep("4-running")

    tab.page.reload()  # as when the page was closed and opened again
    tab.wait_open()
    tab.wait("document.querySelectorAll('.rimo-small .rimo-tile').length == 19")
    assert tab.page.input_value("[name=trigger_word]") == "rimochan"
    assert tab.page.input_value("[name=max_train_steps]") == "60"
    tab.wait_for_state("finished")
    assert tab.text(".rimo-place") == "step 60 of 60"
    assert tab.page.get_attribute(".rimo-line-smooth", "d").count("L") > 20
    tab.keep("5-finished")
    assert (home / "loras" / "first.safetensors").exists()

    tab.click("Try it")
    tab.wait("document.querySelector('#rimo_prompt textarea').value.includes('<lora:first:1>')")
    assert tab.page.is_visible("#rimo_prompt")
    tab.keep("6-try-it")


def test_stop_resume_kill_and_a_queue(tab, home):
    tab.drop_pictures()
    tab.set_up("long", 100_000)
    tab.train()
    tab.wait_for_state("running")
    tab.wait_for_step(3)
    tab.click("Stop")
    tab.wait_for_state("stopped")
    assert "Resume goes on" in tab.text(".rimo-ending")
    tab.keep("7-stopped")

    tab.click("Resume")
    tab.wait_for_state("running")
    tab.wait_for_step(5)
    tab.set_up("behind", 5)
    tab.train()
    tab.wait_for_state("waiting")
    tab.keep("8-queued")

    tab.page.click(".rimo-job-row:has-text('long')")
    tab.wait_for_state("running")
    for process in trainers(home):
        if "train" in process.cmdline():
            process.kill()
    tab.wait_for_state("died")
    assert "killed from outside" in tab.text(".rimo-ending")
    tab.keep("9-killed")

    tab.page.click(".rimo-job-row:has-text('behind')")
    tab.wait_for_state("finished")


def test_what_is_wrong_is_said_at_its_field(tab):
    tab.drop_pictures()
    tab.set("unet_lr", "much")
    tab.wait("document.querySelector('.rimo-wrong input')?.name == 'unet_lr'")
    assert "use a number" in tab.page.text_content(".rimo-card .rimo-problem:not([hidden])")
    tab.keep("10-wrong")


def test_captions_are_edited_in_place(tab, home):
    tab.drop_pictures()
    first = ".rimo-gallery:not(.rimo-small) .rimo-tile:first-child"
    tab.page.fill(f"{first} .rimo-chips input", "hat")
    tab.page.press(f"{first} .rimo-chips input", "Enter")
    tab.page.wait_for_selector(f"{first} .rimo-chip:has-text('hat')")
    newest = max((home / "pictures").iterdir(), key=lambda folder: folder.name)
    assert (newest / "1.txt").read_text().strip().endswith(", hat")
    tab.page.click("text=Edit as text")
    tab.page.fill(f"{first} textarea", "rimochan")
    tab.page.press(f"{first} textarea", "Tab")
    tab.wait("true")
    for _ in range(100):
        if (newest / "1.txt").read_text() == "rimochan\n":
            break
        time.sleep(0.1)
    assert (newest / "1.txt").read_text() == "rimochan\n"
