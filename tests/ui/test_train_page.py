"""The Train tab in a browser, training for real on the embedded model.

On the standalone's page, and on a WebUI's kind of page under the Gradio of each interpreter that
RIMO_GRADIO_PYTHONS names; those need what `lib_rimo/ui` imports, and trainings run with ours.
With RIMO_SCREENSHOTS=FOLDER every state is also kept as a picture, to be looked at.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest
from PIL import Image

from lib_rimo.base_model.publish import MODEL
from lib_rimo.environment import ROOT
from lib_rimo.training.config.built_in import BACKGROUNDS_KEPT, SDXL
from lib_rimo.ui.train_tab import TITLE
from tests.sd.narrow import write_narrow_checkpoint

pytestmark = pytest.mark.slow
Axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe

PICTURES = ROOT / "lib_rimo" / "demo" / "rimochan"
PATIENCE = 900_000  # milliseconds; on a crowded machine thirty steps take minutes
STANDALONE = "standalone"
OTHERS = [
    python for python in os.environ.get("RIMO_GRADIO_PYTHONS", "").split(os.pathsep) if python
]
NO_OTHERS = "needs RIMO_GRADIO_PYTHONS: interpreters with Gradio 3.41.2 and 4.40.0"


class Site:
    """A page of ours, served by a process of its own with a home of its own."""

    def __init__(self, python, home):
        self.python, self.home = python, home
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()

    def start(self):
        if self.python == STANDALONE:
            command = [sys.executable, "-m", "lib_rimo", "ui", "--home", self.home, "--no-browser"]
            command += ["--port", self.port]
        else:
            command = [self.python, "-m", "tests.ui.gradio_page", self.home, self.port]
            command += [sys.executable]
        current = {"RIMO_ENVIRONMENT": "current", "GRADIO_ANALYTICS_ENABLED": "False"}
        with (self.home / "ui.log").open("ab") as log:
            self.process = subprocess.Popen(
                list(map(str, command)),
                cwd=ROOT,
                env={**os.environ, **current},
                stdout=log,
                stderr=log,
            )
        for _ in range(600):
            assert self.process.poll() is None, (self.home / "ui.log").read_text()
            try:
                urllib.request.urlopen(self.address, timeout=5).close()
                return
            except OSError:
                time.sleep(0.5)
        pytest.fail("the page did not start")

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}"

    def stop(self):
        self.process.terminate()
        self.process.wait(60)

    def processes(self, verb):
        """Those that train ("train") or run the queue ("queue") of this home."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if verb in words and any(str(self.home / "jobs") in word for word in words):
                found.append(process)
        return found


@pytest.fixture(
    scope="module",
    params=[
        STANDALONE,
        *(OTHERS or [pytest.param("others", marks=pytest.mark.skip(reason=NO_OTHERS))]),
    ],
)
def site(request, tmp_path_factory):
    if not MODEL.exists():
        pytest.skip("needs the embedded model, which `python -m lib_rimo.base_model.train` makes")
    if request.param == STANDALONE:
        pytest.importorskip("gradio", reason="needs Gradio, which requirements/ui.txt has")
    site = Site(request.param, tmp_path_factory.mktemp("home"))
    yield site
    site.stop()
    for process in [*site.processes("queue"), *site.processes("train")]:
        process.kill()


class Tab:
    """The Train tab, as somebody uses it."""

    def __init__(self, page, site):
        self.page, self.site = page, site
        page.set_default_timeout(PATIENCE)
        page.set_viewport_size({"width": 1600, "height": 1200})
        self.open()

    def open(self):
        self.page.goto(self.site.address)
        if self.site.python != STANDALONE:
            self.page.get_by_role("tab", name="Train").or_(self._button("Train")).first.click()
            self._button(TITLE).first.click()
        self.page.wait_for_selector(".rimo-train input[name=network_dim]", state="attached")

    def _button(self, text):
        """Of any Gradio's tabs."""
        return self.page.locator(f"button:visible:text-is('{text}')")

    def keep(self, name):
        """A state of the page: nobody is kept out of it, and a picture of it is kept if wanted."""
        for _ in range(5):  # looked at again, for colours may be on their way to others
            found = Axe().run(self.page, "#rimo_train", {"resultTypes": ["violations"]})
            serious = [
                (rule["id"], [node["html"][:200] for node in rule["nodes"]])
                for rule in found.response["violations"]
                if rule["impact"] in ("serious", "critical")
            ]
            if not serious:
                break
            self.page.wait_for_timeout(500)
        assert serious == [], name
        folder = os.environ.get("RIMO_SCREENSHOTS")
        if folder:
            kept = Path(folder) / Path(self.site.python).parts[-3:][0]
            kept.mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=kept / f"{name}.png", full_page=True)

    def drop_pictures(self):
        files = [str(path) for path in sorted(PICTURES.iterdir())]
        self.page.set_input_files(".rimo-train input[type=file][multiple]", files)
        self.wait(
            "document.querySelectorAll('.rimo-gallery:not(.rimo-small) .rimo-chips').length == 5"
        )
        self.page.wait_for_selector(".rimo-busy", state="detached")

    def set(self, name, value):
        """Fill in a field, folded away or not."""
        self.page.evaluate(
            """([name, value]) => {
                const input = document.querySelector(`.rimo-train [name=${name}]`);
                input.value = value;
                input.dispatchEvent(new Event("input"));
            }""",
            [name, str(value)],
        )

    def set_up(self, name, steps):
        """A training that is as small as can be."""
        for option, value in {
            "output_name": name,
            "max_train_steps": steps,
            "resolution": 64,
            "min_bucket_reso": 64,
            "network_dim": 4,
            "save_every_n_steps": 20,
            "save_state_every_n_steps": 1,
        }.items():
            self.set(option, value)

    def train(self):
        """Press the button, once the estimate stands beside it."""
        self.page.wait_for_selector(".rimo-card:has(.rimo-start) .rimo-hint:has-text('of memory')")
        self.page.click(".rimo-start:not([disabled])")

    def answer(self, what, reply):
        """Answer one kind of request with `reply(ask)`; `ask()` is what the server says to it."""

        def change(route):
            if json.loads(json.loads(route.request.post_data)["data"][0])["do"] != what:
                return route.fallback()
            changed = reply(lambda: json.loads(route.fetch().json()["data"][0]))
            return route.fulfill(json={"data": [json.dumps(changed)]})

        self.page.route("**/run/rimo_train", change)

    def wait(self, condition):
        self.page.wait_for_function(condition)

    def wait_for_state(self, state):
        self.page.wait_for_selector(f".rimo-job[data-state={state}]")

    def wait_for_step(self, step):
        place = "document.querySelector('.rimo-place').textContent"
        self.wait(f"+({place}.match(/^step (\\d+)/)?.[1] || 0) >= {step}")

    def choose(self, name):
        self.page.click(f".rimo-job-row:has(.rimo-job-name:text-is('{name}'))")
        self.page.wait_for_selector(f".rimo-job-title:text-is('{name}')")

    def click(self, text):
        self.page.click(f".rimo-job .rimo-button:visible:text-is('{text}')")

    def wait_until_saved(self):
        """Until the server has every caption."""
        self.wait("JSON.parse(localStorage.getItem('rimo-train')).unsaved?.length === 0")

    def text(self, selector):
        return self.page.text_content(selector)


# Records what the page would show on the desktop, and whether it asks in answer to a click. Who was
# not given the permission was not asked for it yet.
NOTIFICATIONS = """
(() => {
    const {Notification} = window;
    window.shown = [];
    window.asked = [];
    window.Notification = class {
        static get permission() {
            return Notification.permission === "granted" ? "granted" : "default";
        }

        static async requestPermission() {
            window.asked.push(navigator.userActivation.isActive);
        }

        constructor(title, options) {
            window.shown.push(`${title}: ${options.body}`);
            if (window.cannotShow) throw new TypeError("Illegal constructor");
        }
    };
})();
"""


@pytest.fixture
def is_allowed(request, page):
    if request.param:
        page.context.grant_permissions(["notifications"])
    page.add_init_script(NOTIFICATIONS)
    return request.param


@pytest.fixture
def tab(page, site):
    return Tab(page, site)


def test_from_five_pictures_to_a_lora_that_can_be_tried(tab, site):
    tab.keep("1-empty")
    assert tab.page.is_disabled(".rimo-start")
    tab.drop_pictures()
    tab.set("trigger_word", "rimochan")
    tab.keep("2-pictures")
    first = ".rimo-gallery:not(.rimo-small) .rimo-tile:first-child"
    tab.page.click(f"{first} .rimo-open")
    tab.page.wait_for_selector("dialog:has-text('1 / 5')")
    tab.page.keyboard.press("ArrowRight")
    tab.page.wait_for_selector("dialog:has-text('2 / 5')")
    tab.keep("2-large")
    tab.page.keyboard.press("Escape")

    tab.set_up("first", 30)
    tab.page.click("text=Make twenty")
    tab.wait("document.querySelectorAll('.rimo-small .rimo-tile').length == 20")
    tab.keep("3-twenty")
    tab.page.hover(".rimo-small .rimo-tile:nth-child(3)")
    tab.page.click(".rimo-small .rimo-tile:nth-child(3) .rimo-cross")
    tab.wait("document.querySelectorAll('.rimo-small .rimo-tile').length == 19")

    tab.train()
    tab.wait_for_state("running")
    tab.wait_for_step(5)
    tab.keep("4-running")

    tab.open()  # as when the page was closed and opened again
    tab.wait("document.querySelectorAll('.rimo-small .rimo-tile').length == 19")
    assert tab.page.input_value("[name=trigger_word]") == "rimochan"
    assert tab.page.input_value("[name=max_train_steps]") == "30"
    tab.wait_for_state("finished")
    assert tab.text(".rimo-place") == "step 30 of 30"
    assert tab.page.get_attribute(".rimo-line-smooth", "d").count("L") > 20
    tab.keep("5-finished")
    assert (site.home / "loras" / "first.safetensors").exists()

    tab.click("Compare")
    tab.page.wait_for_selector(".rimo-comparison[src^='data:image/jpeg']")
    tab.keep("6-compared")

    tab.page.fill(f"{first} .rimo-chips input", "hat")
    tab.page.press(f"{first} .rimo-chips input", "Enter")
    tab.page.wait_for_selector(".rimo-stale:visible:has-text('(1.png): make them again')")
    tab.open()
    tab.page.wait_for_selector(".rimo-stale:visible:has-text('(1.png): make them again')")
    tab.page.click(".rimo-start:not([disabled])")
    tab.page.wait_for_selector(".rimo-button:visible:text-is('Train on them as they are')")
    tab.keep("6-stale")
    tab.click("Try it")
    prompt = "#txt2img_prompt textarea, #rimo_prompt textarea"
    tab.page.wait_for_selector(prompt)
    assert tab.page.input_value(prompt).startswith("rimochan, 1girl, ")
    assert tab.page.input_value(prompt).endswith(", <lora:first:1>")
    tab.keep("7-try-it")


@pytest.mark.parametrize("is_allowed", [True], indirect=True)
def test_stop_resume_kill_and_a_queue(is_allowed, tab, site):
    tab.drop_pictures()
    tab.set_up("long", 100_000)
    tab.train()
    tab.wait_for_state("running")
    tab.wait_for_step(3)
    tab.click("Sample now")
    tab.page.wait_for_selector(".rimo-samples img[src^='data:image/jpeg']")
    tab.click("Save now")
    saved = site.home / "loras" / "long.safetensors"
    tab.wait("/saved long.safetensors/.test(document.querySelector('.rimo-log').textContent)")
    tab.click("Stop")
    tab.wait_for_state("stopped")
    assert saved.exists()
    assert "Resume goes on" in tab.text(".rimo-ending")
    tab.keep("8-stopped")

    stopped_at = int(tab.text(".rimo-place").split()[1])
    tab.page.click(".rimo-jobs .rimo-button:text-is('Resume')")
    tab.wait_for_state("running")
    tab.wait_for_step(stopped_at + 2)
    tab.set_up("behind", 5)
    tab.train()
    tab.wait_for_state("waiting")
    tab.keep("9-queued")

    tab.choose("long")
    tab.wait_for_state("running")
    for process in site.processes("train"):
        process.send_signal(signal.SIGKILL)
    tab.wait_for_state("died")
    assert "killed from outside" in tab.text(".rimo-ending")
    assert "last good file is long" in tab.text(".rimo-ending")
    tab.keep("10-killed")

    tab.choose("behind")
    tab.wait_for_state("finished")
    tab.wait("window.shown.includes('Rimo: behind: finished')")
    assert tab.page.evaluate("window.asked") == []  # it is allowed already


def test_a_restarted_program_finds_its_jobs(tab, site):
    tab.drop_pictures()
    tab.set_up("outlives", 100_000)
    tab.train()
    tab.page.wait_for_selector(".rimo-job-title:text-is('outlives')")
    tab.wait_for_state("running")
    tab.wait_for_step(1)
    site.stop()
    tab.page.wait_for_selector(".rimo-offline")
    before = int(tab.text(".rimo-place").split()[1])
    site.start()
    tab.open()
    tab.wait_for_state("running")
    tab.wait_for_step(before + 1)
    tab.click("Stop")
    tab.wait_for_state("stopped")


def test_what_is_wrong_is_said_at_its_field(tab):
    tab.drop_pictures()
    tab.set("unet_lr", "much")
    tab.wait("document.querySelector('.rimo-wrong input')?.name == 'unet_lr'")
    assert "use a number" in tab.text(".rimo-card .rimo-problem:not([hidden])")
    tab.keep("11-wrong")
    tab.set("unet_lr", "1e-4")
    tab.page.wait_for_selector(".rimo-wrong", state="detached")
    tab.set("train_batch_size", 1000)
    tab.set("resolution", 1024)
    tab.page.wait_for_selector(".rimo-problem:visible:has-text('It cannot fit')")
    tab.keep("12-does-not-fit")


def test_a_refusal_stays_until_something_is_changed(tab):
    tab.drop_pictures()
    tab.page.wait_for_selector(".rimo-start:not([disabled])")
    tab.answer("train", lambda ask: {"error": "The disk is full: make room."})
    estimate = ".rimo-card:has(.rimo-start) .rimo-hint"
    tab.page.wait_for_selector(f"{estimate}:has-text('of memory')")
    tab.page.eval_on_selector(estimate, "hint => hint.textContent = ''")
    tab.set("max_train_steps", 7)
    tab.page.click(".rimo-start:not([disabled])")
    tab.page.wait_for_selector(f"{estimate}:has-text('of memory')")
    refusal = ".rimo-problem:visible:text-is('The disk is full: make room.')"
    assert tab.page.is_visible(refusal)
    tab.set("max_train_steps", 8)
    tab.page.wait_for_selector(refusal, state="detached")


def test_captions_are_edited_in_place(tab, site):
    tab.drop_pictures()
    first = ".rimo-gallery:not(.rimo-small) .rimo-tile:first-child"
    tab.page.fill(f"{first} .rimo-chips input", "hat")
    tab.page.press(f"{first} .rimo-chips input", "Enter")
    tab.page.wait_for_selector(f"{first} .rimo-chip:has-text('hat')")
    newest = max((site.home / "pictures").iterdir(), key=lambda folder: folder.name)
    tab.wait_until_saved()
    assert (newest / "1.txt").read_text().strip().endswith(", hat")
    tab.page.click("text=Edit as text")
    tab.page.fill(f"{first} textarea", "rimochan")
    tab.wait_until_saved()
    assert (newest / "1.txt").read_text() == "rimochan\n"


def test_tags_are_typed_faster_than_the_server_saves(tab, site):
    tab.drop_pictures()
    newest = max((site.home / "pictures").iterdir(), key=lambda folder: folder.name)
    before = (newest / "1.txt").read_text().strip()

    def slowly(ask):
        time.sleep(0.5)
        return ask()

    tab.answer("caption", slowly)
    field = ".rimo-gallery:not(.rimo-small) .rimo-tile:first-child .rimo-chips input"
    tags = ["hat", "scarf", "long sleeves", "smile", "night"]
    tab.page.focus(field)
    for tag in tags:
        tab.page.keyboard.type(tag)
        tab.page.keyboard.press("Enter")
    assert tab.page.eval_on_selector(field, "field => field === document.activeElement")
    tab.wait_until_saved()
    assert (newest / "1.txt").read_text() == ", ".join([before, *tags]) + "\n"


def test_captions_are_kept_while_the_server_is_gone(tab, site):
    tab.drop_pictures()
    newest = max((site.home / "pictures").iterdir(), key=lambda folder: folder.name)
    before = (newest / "1.txt").read_text().strip()
    is_gone = [True]

    def come_and_go(route):
        asked = json.loads(json.loads(route.request.post_data)["data"][0])["do"]
        return route.abort() if is_gone[0] and asked == "caption" else route.fallback()

    tab.page.route("**/run/rimo_train", come_and_go)
    first = ".rimo-gallery:not(.rimo-small) .rimo-tile:first-child"
    tab.page.fill(f"{first} .rimo-chips input", "hat")
    tab.page.press(f"{first} .rimo-chips input", "Enter")
    tab.page.wait_for_selector(".rimo-unsaved:visible:has-text('keeps until it does: 1.')")
    tab.keep("13-unsaved")
    tab.open()  # as when the page is reloaded
    tab.page.wait_for_selector(f"{first} .rimo-chip:has-text('hat')")
    assert (newest / "1.txt").read_text().strip() == before
    is_gone[0] = False
    tab.wait_until_saved()
    assert (newest / "1.txt").read_text() == f"{before}, hat\n"
    tab.page.wait_for_selector(".rimo-unsaved", state="hidden")


def test_tags_of_all_pictures_are_shown_changed_and_undone(tab, site):
    tab.drop_pictures()
    newest = max((site.home / "pictures").iterdir(), key=lambda folder: folder.name)
    before = [file.read_text() for file in sorted(newest.glob("*.txt"))]
    tiles = tab.page.locator(".rimo-gallery:not(.rimo-small) .rimo-tile")
    smile = tab.page.locator(".rimo-tag[data-tag=smile]")
    with_it = int(smile.locator("small").text_content())
    assert with_it == sum("smile" in caption for caption in before)
    smile.click()
    tab.page.keyboard.press("ArrowRight")
    tab.page.keyboard.press("ArrowLeft")
    assert (tiles.count(), smile.get_attribute("aria-pressed")) == (with_it, "true")
    tab.page.keyboard.press("Enter")
    assert tiles.count() == 5 - with_it
    tab.page.fill(".rimo-tags .rimo-bar:not(.rimo-one-tag) input", "smil")
    tab.page.keyboard.press("ArrowDown")
    tab.keep("13-tags")
    tab.page.keyboard.press("Enter")  # the proposal
    tab.page.keyboard.press("Enter")
    assert int(smile.locator("small").text_content()) == 5
    tab.page.click(".rimo-button:text-is('Undo')")
    smile.click()
    assert tiles.count() == 5
    smile.click()
    tab.page.fill(".rimo-one-tag input", "grin")
    tab.page.click(".rimo-button:text-is('Replace in all')")
    tab.wait_until_saved()
    after = [file.read_text() for file in sorted(newest.glob("*.txt"))]
    assert after == [caption.replace("smile", "grin") for caption in before]
    tab.page.click(".rimo-button:text-is('Undo')")
    tab.wait_until_saved()
    assert [file.read_text() for file in sorted(newest.glob("*.txt"))] == before


def test_a_mask_is_shown_painted_and_found_anew(tab, site):
    tab.drop_pictures()
    newest = max((site.home / "pictures").iterdir(), key=lambda folder: folder.name)
    mask = newest / "1-masklabel.png"
    tab.page.click(".rimo-button:text-is('Show masks')")
    tab.wait("document.querySelectorAll('.rimo-tile .rimo-mask').length == 5")
    tab.page.click(".rimo-gallery:not(.rimo-small) .rimo-tile:first-child .rimo-open")
    tab.page.click("dialog .rimo-button:text-is('Mask')")
    tab.page.wait_for_selector("dialog .rimo-hint:visible:has-text('plain background')")
    tab.wait("document.querySelector('.rimo-brush').offsetWidth > 50")
    box = tab.page.locator(".rimo-brush").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.7
    tab.page.mouse.move(x, y)
    tab.page.mouse.down()
    tab.page.mouse.move(x + 5, y)
    tab.page.mouse.up()
    tab.page.wait_for_selector("dialog .rimo-hint:visible:has-text('From the mask file')")
    with Image.open(mask) as painted:
        assert painted.getpixel((painted.width // 2, int(painted.height * 0.7))) == 0
        assert painted.getpixel((painted.width // 2, int(painted.height * 0.8))) == 255
    tab.keep("14-mask")
    with tab.page.expect_response(lambda reply: "set_mask" in (reply.request.post_data or "")):
        tab.page.click("dialog .rimo-button:text-is('Undo')")
    with Image.open(mask) as undone:
        assert undone.getpixel((undone.width // 2, int(undone.height * 0.7))) == 255
    tab.page.click("dialog .rimo-button:text-is('Find it anew')")
    tab.page.wait_for_selector("dialog .rimo-hint:visible:has-text('plain background')")
    assert not mask.exists()


def test_pictures_without_any_word_are_told_of_before_train(tab):
    files = [str(path) for path in sorted(PICTURES.glob("*.png"))]
    tab.page.set_input_files(".rimo-train input[type=file][multiple]", files)
    tab.wait("document.querySelectorAll('.rimo-gallery .rimo-chips').length == 5")
    tab.page.wait_for_selector(".rimo-problem:visible:has-text('there is no trigger word')")
    tab.keep("14-no-word")
    tab.set("trigger_word", "rimochan")
    tab.page.wait_for_selector(".rimo-problem:has-text('there is no trigger word')", state="hidden")


def test_one_click_keeps_the_backgrounds_of_plain_pictures(tab):
    tab.drop_pictures()
    tab.page.click("button:text-is('Keep the backgrounds')")
    made = tab.page.locator(".rimo-augment")
    made.locator("p:has-text('Places drawn: ')").wait_for()
    tab.keep("14-places")
    assert tab.page.is_disabled(".rimo-start")  # or it would train on the plain ones
    made.get_by_role("button", name="Stop").click()
    made.locator(".rimo-problem:has-text('Stopped; asked for again, it goes on.')").wait_for()
    assert not made.get_by_role("button", name="Stop").is_visible()
    tab.page.wait_for_selector(".rimo-start:not([disabled])")
    assert made.get_by_label("Other backgrounds").input_value() == "20"
    assert tab.page.input_value("select[title=Recipes]") == BACKGROUNDS_KEPT
    assert tab.page.input_value("[name=network_alpha]") == "3"


def test_what_was_asked_for_is_there_though_its_connection_broke(tab):
    """As behind a proxy that gives up, or on a phone that slept."""
    broken = []

    def break_off(route):
        asked = json.loads(json.loads(route.request.post_data)["data"][0])["do"]
        if asked == "augment":
            route.fetch()
        elif asked != "outcome" or len(broken) > 2:
            return route.fallback()
        broken.append(asked)
        return route.abort()

    tab.drop_pictures()
    tab.page.route("**/run/rimo_train", break_off)
    tab.page.click("button:text-is('Make twenty')")
    tab.wait("document.querySelectorAll('.rimo-small .rimo-tile').length == 20")
    assert broken == ["augment", "outcome", "outcome"]
    assert not tab.page.is_visible(".rimo-augment .rimo-problem")


def test_a_recipe_for_any_family_stays_with_another_base_model(tab, tmp_path):
    other = tmp_path / "narrow.safetensors"
    write_narrow_checkpoint(other, "sdxl")
    page, recipe, base = tab.page, "select[title=Recipes]", "select[name=base]"
    usual, demonstration = page.input_value("[name=text_encoder_lr]"), page.input_value(base)

    def chosen():
        names = ("network_alpha", "text_encoder_lr", "masked_prior_preservation_weight")
        return page.input_value(recipe), *(page.input_value(f"[name={name}]") for name in names)

    page.select_option(recipe, BACKGROUNDS_KEPT)
    assert chosen() == (BACKGROUNDS_KEPT, "3", usual, "1")
    page.select_option(base, "other")
    page.get_by_label("File", exact=True).fill(str(other))
    page.wait_for_selector(".rimo-base-hint:has-text('SDXL')")
    assert chosen() == (BACKGROUNDS_KEPT, "3", "0", "1")
    page.select_option(recipe, SDXL)
    assert chosen() == (SDXL, "2", "0", "0")
    page.select_option(recipe, BACKGROUNDS_KEPT)
    assert chosen() == (BACKGROUNDS_KEPT, "3", "0", "1")
    page.select_option(base, demonstration)
    page.wait_for_selector(".rimo-base-hint:has-text('SD1')")
    assert chosen() == (BACKGROUNDS_KEPT, "3", usual, "1")


def test_recipes_and_kohyas_files(tab):
    tab.page.click("text=All options, by kohya's names")
    tab.page.fill("input[type=search]", "shifts offset up")
    assert tab.page.locator(".rimo-deep .rimo-field:visible input").get_attribute("name") == (
        "noise_offset_random_strength"
    )
    tab.keep("15-found")
    tab.page.fill("input[type=search]", "")
    learned = tab.page.get_by_label("What is learned?")
    learned.select_option("a style")
    assert tab.page.input_value("[name=network_alpha]") == "8"
    learned.select_option("a character")
    assert tab.page.input_value("[name=network_alpha]") == "2"
    tab.set("network_dim", 16)
    assert learned.input_value() == "own"
    tab.page.fill(".rimo-card input[placeholder=Name]", "sixteen")
    tab.page.click("text=Save recipe")
    tab.page.wait_for_selector(".rimo-hint:text-is('Saved.')")
    toml = b'output_name = "theirs"\nnetwork_dim = 7\nwarp_speed = 9\n'
    file = {"name": "kohya.toml", "mimeType": "text/plain", "buffer": toml}
    tab.page.set_input_files(".rimo-train input[accept='.toml,.json']", file)
    tab.page.wait_for_selector(".rimo-hint:has-text('Loaded kohya.toml. warp_speed')")
    assert tab.page.input_value("[name=network_dim]") == "7"
    assert tab.page.input_value("[name=output_name]") == "theirs"
    tab.page.select_option("select[title=Recipes]", "sixteen")
    assert tab.page.input_value("[name=network_dim]") == "16"


@pytest.mark.parametrize("is_allowed", [False], indirect=True)
def test_who_trains_is_asked_for_the_desktop_and_told_nothing_without(is_allowed, tab):
    tab.drop_pictures()
    tab.set_up("untold", 3)
    assert tab.page.evaluate("window.asked") == []  # not before a click
    tab.train()
    # The list is where ends are noticed; the training's own card may know a moment earlier.
    row = ".rimo-job-row[data-state=finished]:has(.rimo-job-name:text-is('untold'))"
    tab.page.wait_for_selector(row)
    assert tab.page.evaluate("window.shown") == []
    assert tab.page.evaluate("window.asked") == [True]


@pytest.mark.parametrize("is_allowed", [True], indirect=True)
def test_ends_that_are_seen_are_told_once(is_allowed, tab):
    states = {
        "broken": ("running", "died"),
        "short": ("waiting", "finished"),  # so short that a tab out of sight misses its running
        "called off": ("waiting", "stopped"),
        "long ago": ("finished", "finished"),
    }
    tab.page.evaluate("window.cannotShow = true")  # as on Android; the page has to live with it
    jobs = [
        {"id": name, "name": name, "step": 1, "steps": 2, "added": 0, "can_resume": False}
        for name in states
    ]
    tab.answer("jobs", lambda ask: {"jobs": jobs})
    for moment in (0, 1):
        for job in jobs:
            job["state"] = states[job["name"]][moment]
        for job in jobs:
            name = f".rimo-job-name:text-is('{job['name']}')"
            tab.page.wait_for_selector(f".rimo-job-row[data-state={job['state']}]:has({name})")
        tab.wait(f"document.querySelectorAll('.rimo-job-row').length == {len(jobs)}")
    with tab.page.expect_response(lambda response: '"jobs' in response.request.post_data):
        pass
    assert tab.page.evaluate("window.shown") == ["Rimo: broken: died", "Rimo: short: finished"]


def test_a_proposal_that_fails_leaves_the_captions_as_they_are(tab, site):
    proposals = iter([{"caption": "1girl, hat"}, {"error": "The WebUI could not caption 2.png."}])
    tab.answer("open", lambda ask: {**ask(), "interrogators": ["CLIP"]})
    tab.answer("interrogate", lambda ask: next(proposals))
    tab.open()
    tab.drop_pictures()
    newest = max((site.home / "pictures").iterdir(), key=lambda folder: folder.name)
    tab.page.click("text=Edit as text")
    areas = tab.page.locator(".rimo-gallery:not(.rimo-small) textarea")
    for number in range(3):
        with tab.page.expect_response(lambda response: "rimo_train" in response.url):
            areas.nth(number).fill("")
            areas.nth(number).blur()
    tab.page.click(".rimo-button:text-is('Captions by CLIP')")
    tab.page.wait_for_selector(".rimo-problem:text-is('The WebUI could not caption 2.png.')")
    tab.page.wait_for_selector(".rimo-button:text-is('Captions by CLIP'):not([disabled])")
    assert [areas.nth(number).input_value() for number in range(3)] == ["1girl, hat", "", ""]
    tab.wait_until_saved()
    assert (newest / "1.txt").read_text() == "1girl, hat\n"
    assert not (newest / "2.txt").exists()
    assert areas.nth(3).input_value().startswith("rimochan")
