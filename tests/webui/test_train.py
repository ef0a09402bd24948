"""Training from a real WebUI, by its page and by its API, with its own environment left alone.

With RIMO_SCREENSHOTS=FOLDER the page is also kept as pictures, to be looked at.
"""

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open

from lib_rimo.environment import ROOT
from lib_rimo.ui.train_tab import TITLE
from tests.webui.server import PATIENCE, RefusedError
from tests.webui.training import PICTURES, ask, few_steps, train
from tests.webui.visit import visit

OUTS = f"1,{'0,' * 7}{','.join('1' * 9)}"  # BASE and the OUT blocks


def freeze():
    """The packages of the WebUI's environment."""
    python = os.environ["RIMO_WEBUI_PYTHON"]
    command = [python, "-m", "pip", "freeze"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def options(server):
    return few_steps(server, save_every_n_steps=2)


@pytest.fixture(scope="module")
def trained(server, options):
    before = server.draw("a cat")
    job = train(server, options)
    assert server.draw("a cat") == before
    return job


def test_the_tab_is_there(server):
    assert "rimo_train" in server.elements()


def test_the_lora_can_be_used_at_once(server, trained):
    plain = server.draw("a cat")
    assert server.draw("a cat <lora:trained:1>") != plain
    deadline = time.monotonic() + PATIENCE
    while "trained" not in {lora["name"] for lora in server.call("loras")}:
        assert time.monotonic() < deadline, "the WebUI does not list the new LoRA"
        time.sleep(1)


def test_a_lora_trained_again_replaces_the_old_one(server, options, trained):
    old = server.draw("a cat <lora:trained:1>")
    again = {**options, "seed": 2, "unet_lr": 0.02}
    train(server, again)
    assert server.draw("a cat <lora:trained:1>") != old


def test_a_foreign_name_is_refused(server, options):
    with pytest.raises(RefusedError, match="choose another name"):
        server._json("rimo/v1/jobs", {"options": {**options, "output_name": "one"}})


def test_a_base_model_has_every_name_that_the_webui_lists(server, options):
    """Told by what is said next: the name of the LoRA is looked at after the model."""
    known = [listed[key] for listed in server.call("sd-models") for key in ("title", "model_name")]
    names = (*known, server.model.name, server.model.stem, str(server.model), "nobody's")
    for name in names:
        asked = {**options, "output_name": "one", "pretrained_model_name_or_path": name}
        said = r"not a \.safetensors model" if name == names[-1] else "choose another name"
        with pytest.raises(RefusedError, match=said):
            server._json("rimo/v1/jobs", {"options": asked})


def test_steps_are_compared_through_the_webui(server, trained):
    ask(server, "compare", job=trained)
    deadline = time.monotonic() + PATIENCE
    while (state := ask(server, "watch", job=trained)["comparison"])["running"]:
        assert time.monotonic() < deadline
        time.sleep(1)
    assert state["messages"] == []
    assert ask(server, "comparison", job=trained)["picture"].startswith("data:image/jpeg")


def test_the_openapi_page_has_it(server):
    assert "/rimo/v1/jobs" in server._json("openapi.json")["paths"]


@pytest.mark.skipif("RIMO_WEBUI_PYTHON" not in os.environ, reason="needs RIMO_WEBUI_PYTHON")
def test_installing_leaves_the_webuis_environment_alone(server, options):
    before = freeze()
    subprocess.run([os.environ["RIMO_WEBUI_PYTHON"], str(ROOT / "install.py"), "--now"], check=True)
    assert freeze() == before


class Tab:
    """The Train tab in a WebUI's page."""

    def __init__(self, page, server):
        self.page, self.server, self.errors = page, server, []
        self.page.set_default_timeout(1000 * PATIENCE)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.open()

    def open(self):
        self.page.goto(self.server.url, wait_until="domcontentloaded")
        self.page.wait_for_selector(".rimo-train input[name=network_dim]", state="attached")
        train = self.page.locator("#tabs > .tab-nav > button:text-is('Train')")
        if train.count():  # AUTOMATIC1111's and reForge's, which ours is in
            train.click()
        self.page.click(f"button:visible:text-is('{TITLE}')")  # of any Gradio's tabs
        self.page.wait_for_selector(".rimo-start")

    def keep(self, name):
        if shots := os.environ.get("RIMO_SCREENSHOTS"):
            self.page.screenshot(path=Path(shots) / f"train_{name}.png", full_page=True)

    def wait_for_count(self, selector, count):
        self.page.wait_for_function(
            "([selector, count]) => document.querySelectorAll(selector).length === count",
            arg=[selector, count],
        )

    def fill(self, name, value):
        self.page.evaluate(
            """([name, value]) => {
                const input = document.querySelector(`.rimo-train [name=${name}]`);
                input.value = value;
                input.dispatchEvent(new Event("input"));
            }""",
            [name, str(value)],
        )

    def press(self, text, inside=".rimo-train"):
        self.page.click(f"{inside} .rimo-button:visible:text-is('{text}')")

    def drop(self, *suffixes):
        files = [str(path) for path in sorted(PICTURES.iterdir()) if path.suffix in suffixes]
        self.page.set_input_files(".rimo-train input[type=file][multiple]", files)
        self.wait_for_count(".rimo-gallery:not(.rimo-small) .rimo-chips", 5)
        self.page.wait_for_selector(".rimo-busy", state="detached")

    def train(self, name, options, **others):
        """Press the button, for a training of that name."""
        own = ("resolution", "min_bucket_reso", "unet_lr")
        values = {option: options[option] for option in own}
        for option, value in {**values, "output_name": name, **others}.items():
            self.fill(option, value)
        self.page.click(".rimo-start:not([disabled])")
        self.page.wait_for_selector(f".rimo-job-title:text-is('{name}')")

    def wait_for_state(self, state):
        self.page.wait_for_selector(f".rimo-job[data-state={state}]")

    def wait_for_step(self, step):
        place = "document.querySelector('.rimo-place').textContent"
        self.page.wait_for_function(f"+({place}.match(/^step (\\d+)/)?.[1] || 0) >= {step}")

    @property
    def step(self):
        return int(self.page.text_content(".rimo-place").split()[1])


@pytest.fixture
def tab(browser, server, options):
    with visit(browser, viewport={"width": 1500, "height": 1200}) as page:
        tab = Tab(page, server)
        yield tab
    assert not [error for error in tab.errors if "rimo" in error.lower()]


def test_from_five_pictures_to_a_picture_with_the_lora(tab, server, options):
    before = server.draw("a cat")
    tab.drop(".png", ".txt")
    tab.fill("trigger_word", "rimochan")
    tab.press("Make twenty")
    tab.wait_for_count(".rimo-small .rimo-tile", 20)
    tab.keep("twenty")
    # A Forge's model is of full size; a narrow one is so fast that fewer steps could be missed.
    steps = 60 if server.host == "a1111" else 12
    tab.train("pressed", options, max_train_steps=steps, sample_every_n_steps=steps // 2)
    tab.wait_for_state("running")
    tab.wait_for_step(1)
    tab.keep("running")
    tab.open()  # as when the page was closed and opened again
    tab.wait_for_count(".rimo-small .rimo-tile", 20)
    tab.wait_for_state("finished")
    assert tab.step == steps
    tab.page.wait_for_selector(".rimo-samples img[src^='data:image/jpeg']")
    tab.keep("finished")
    assert server.draw("a cat") == before

    tab.press("Try it")
    prompt = tab.page.locator("#txt2img_prompt textarea").first
    prompt.wait_for()
    tried = prompt.input_value()
    assert tried.startswith("rimochan, 1girl")
    assert tried.endswith("<lora:pressed:1>")
    tab.page.click("#txt2img_generate")
    tab.page.locator("#html_info_txt2img", has_text="pressed").first.wait_for()
    tab.keep("try_it")
    tab.page.locator("#txt2img_extra_tabs button", has_text="Lora").click()
    tab.page.locator("#txt2img_lora_cards .card[data-name=pressed]").wait_for()
    tab.keep("lora_page")
    tab.page.locator("#txt2img_extra_tabs button").first.click()
    part = tried.replace(":1>", f":1:{OUTS}>")
    prompt.fill(part)
    tab.page.click("#txt2img_generate")
    tab.page.locator("#html_info_txt2img", has_text=OUTS).first.wait_for()
    tab.keep("vector")
    prompts = (tried, part, tried.removesuffix("<lora:pressed:1>"))
    assert len({server.draw(prompt).pixels[0].tobytes() for prompt in prompts}) == 3


def test_one_click_keeps_the_backgrounds(tab, server, options):
    """Places are drawn beside the WebUI, stopped, gone on with; her recipe trains on them."""
    before = server.draw("a cat")
    tab.drop(".png", ".txt")
    tab.fill("trigger_word", "rimochan")
    tab.press("Keep the backgrounds")
    made = tab.page.locator(".rimo-augment")
    made.locator("p:has-text('Places drawn: ')").wait_for()
    tab.keep("places")
    made.get_by_role("button", name="Stop").click()
    made.locator(".rimo-problem:has-text('Stopped; asked for again, it goes on.')").wait_for()
    # A model of full size draws 448x704, minutes a place on a CPU.
    made.get_by_label("Width,height").fill("64,64")
    made.get_by_label("Other backgrounds").fill("2")
    tab.press("Make twenty")
    tab.wait_for_count(".rimo-small .rimo-tile", 20)
    proposed = tab.page.locator("button:text-is('Keep the backgrounds')")
    proposed.wait_for(state="hidden")
    tab.keep("in_places")
    tab.train("kept", options, max_train_steps=4)
    tab.wait_for_state("finished")
    with safe_open(server.data / "models/Lora/kept.safetensors", "pt") as lora:
        assert float(lora.metadata()["ss_network_alpha"]) == 3
    assert server.draw("a cat <lora:kept:1>") != before
    assert server.draw("a cat") == before


def test_a_lora_gets_another_rank_by_clicking(tab, server, trained):
    tools = tab.page.locator(".rimo-lora-tools")
    tools.locator("summary").click()
    tools.locator(".rimo-tool").select_option("resize")
    tools.locator(".rimo-lora option[value=trained]").wait_for(state="attached")
    tools.locator(".rimo-lora").select_option("trained")
    tools.get_by_label("Rank (dim)").fill("4")
    tools.get_by_label("Name of the new LoRA").fill("smaller")
    tab.press("Make it")
    tools.locator("p:text-is('Done: <lora:smaller:1>')").wait_for()
    tab.keep("tools")
    assert server.draw("a cat <lora:smaller:1>") != server.draw("a cat")


def test_a_training_is_stopped_resumed_and_outlives_the_webui(tab, server, options):
    before = server.draw("a cat")
    tab.drop(".png", ".txt")
    tab.train("long", options, max_train_steps=100_000, sample_every_n_steps=0)
    tab.wait_for_state("running")
    tab.wait_for_step(2)
    assert server.draw("a cat") == before
    tab.press("Stop", ".rimo-job")
    tab.wait_for_state("stopped")
    assert (server.data / "models/Lora/long.safetensors").exists()
    tab.keep("stopped")
    stopped_at = tab.step
    tab.press("Resume", ".rimo-job")
    tab.wait_for_state("running")
    tab.wait_for_step(stopped_at + 1)

    server.stop()
    tab.page.wait_for_selector(".rimo-offline")
    tab.keep("webui_away")
    server.start()
    tab.open()
    tab.wait_for_state("running")
    before_restart = tab.step
    tab.wait_for_step(before_restart + 1)
    tab.keep("webui_back")
    assert server.draw("a cat") == before
    tab.press("Stop", ".rimo-job")
    tab.wait_for_state("stopped")
    assert server.draw("a cat <lora:long:1>") != before


TAGS = ("1girl", "smile", "solo")


@pytest.fixture
def deepbooru(server):
    """A DeepBooru model in the WebUI that sees the same in every picture."""
    code = server.webui / "modules" / "deepbooru_model.py"
    if not code.exists():
        pytest.skip("this host has no DeepBooru")
    spec = importlib.util.spec_from_file_location("deepbooru_model", code)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch, torch.device("meta"):
        patch.setitem(sys.modules, "modules", SimpleNamespace(devices=None))
        spec.loader.exec_module(module)
        model = module.DeepDanbooruModel().state_dict()
    tensors = {key: torch.zeros(1).expand(tensor.shape) for key, tensor in model.items()}
    *_, inside, last = tensors
    tensors[inside] = torch.ones(1).expand(model[inside].shape)
    likely = torch.full((len(model[last]), 1, 1, 1), -9.0)
    likely[: len(TAGS)] = 9.0
    tensors[last] = likely.expand(model[last].shape)
    folder = server.data / "models" / "torch_deepdanbooru"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(
        {**tensors, "tags": [*TAGS, "unlikely"]},
        folder / "model-resnet_custom_v3.pt",
        _use_new_zipfile_serialization=False,  # AUTOMATIC1111 fears what is newer than itself
    )


def test_the_webui_proposes_captions(tab, server, deepbooru):
    tab.drop(".png")
    tab.press("Captions by DeepBooru")
    tab.wait_for_count(".rimo-gallery:not(.rimo-small) .rimo-chip", 5 * len(TAGS))
    tab.keep("proposed")
    newest = max((server.data / "rimo/pictures").iterdir(), key=lambda path: path.stat().st_mtime)
    captions = {path.read_text().strip() for path in newest.glob("*.txt")}
    assert captions == {", ".join(TAGS)}
