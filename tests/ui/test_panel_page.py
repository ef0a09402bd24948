"""The panel in a browser, on a page that has of a WebUI what the panel's scripts use."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lib_rimo.ui.panel_server import answer
from lib_rimo.weights.presets import load_presets, save_preset

ROOT = Path(__file__).parents[2]
SCRIPTS = [path for path in sorted((ROOT / "javascript").glob("*.js")) if "_train" not in path.name]
TITLE = "Rimo block weights"  # of the accordion, in lib_rimo/ui/panel.py
SEED_TAG = "<lora:plain:1:1,1,1,1,1,0.8,0.2,1,1,1,1,1,1,1,1,1,1>"

PAGE = """<!doctype html>
<link rel="stylesheet" href="style.css">
<script>
    const onAfterUiUpdate = (callback) => document.addEventListener("DOMContentLoaded", callback);
    window.localization = {};
</script>
SCRIPTS
<div id="txt2img_prompt"><textarea style="width: 100%"></textarea></div>
<div class="rimo-panel" data-prompt="#txt2img_prompt textarea" data-run="./run/rimo_panel"></div>
""".replace("SCRIPTS", "".join(f'<script src="{path.name}"></script>' for path in SCRIPTS))

PLAIN = [
    "lora_te_text_model_encoder_layers_0_mlp_fc1.alpha",
    "lora_unet_mid_block_attentions_0_norm.alpha",
    *(f"lora_unet_down_blocks_{n}_attentions_{i}_norm.alpha" for n in range(3) for i in range(2)),
    *(f"lora_unet_up_blocks_{n}_attentions_{i}_norm.alpha" for n in (1, 2) for i in range(3)),
]
FILES = {
    "plain": PLAIN,  # but for the last level on the way up
    "locon": [*PLAIN, "lora_unet_down_blocks_0_downsamplers_0_conv.alpha"],
    "sdxl": ["lora_unet_input_blocks_4_1_proj_in.alpha", "lora_unet_output_blocks_0_1_norm.alpha"],
}


class Host:
    def __init__(self, folder):
        self.folder = folder
        for name, keys in FILES.items():
            header = json.dumps({key: {"shape": []} for key in keys}).encode()
            path = folder / f"{name}.safetensors"
            path.write_bytes(len(header).to_bytes(8, "little") + header)

    def presets(self):
        return load_presets([self.folder])

    def save_preset(self, name, values):
        save_preset(self.folder, name, values)

    def lora_path(self, name):
        return self.folder / f"{name}.safetensors"

    def panel_messages(self):
        return []


def handler_for(host):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.strip("/")
            paths = {path.name: path for path in [*SCRIPTS, ROOT / "style.css"]}
            text = paths[name].read_text(encoding="utf-8") if name in paths else PAGE
            kind = (
                "text/css" if name.endswith(".css") else "text/javascript" if name else "text/html"
            )
            self.reply(text, kind)

        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.reply(json.dumps({"data": [answer(host, asked["data"][0])]}), "application/json")

        def reply(self, text, kind):
            body = text.encode()
            self.send_response(200)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    return Handler


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    host = Host(tmp_path_factory.mktemp("loras"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler_for(host)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class Panel:
    def __init__(self, page):
        self.page = page
        self.textarea = page.locator("textarea")
        self.loras = page.locator(".rimo-lora")

    def write(self, prompt, *, layout):
        """Type a prompt and wait until the sliders of a layout are there."""
        self.textarea.fill(prompt)
        self.page.wait_for_function(
            "count => document.querySelectorAll('.rimo-slider').length === count", arg=layout
        )

    def wait_for_prompt(self, prompt):
        self.page.wait_for_function(
            "text => document.querySelector('textarea').value === text", arg=prompt
        )

    def wait_for_value(self, block, value):
        selector = f".rimo-slider[data-block={block}] input[type=text]"
        self.page.wait_for_function(
            "([place, value]) => document.querySelector(place)?.value === value",
            arg=[selector, value],
        )

    def range(self, block):
        return self.page.locator(f".rimo-slider[data-block={block}] input[type=range]")

    def field(self, block):
        return self.page.locator(f".rimo-slider[data-block={block}] input[type=text]")

    def names(self):
        return self.page.locator(".rimo-slider .rimo-name").all_inner_texts()


@pytest.fixture
def panel(page, url):
    page.goto(url)
    return Panel(page)


def test_without_a_lora_there_is_a_hint_only(panel):
    panel.textarea.fill("1girl, <hypernet:h:1>")
    panel.page.wait_for_timeout(600)
    assert panel.page.locator(".rimo-hint").is_visible()
    assert not panel.page.locator(".rimo-bar").is_visible()


def test_typing_moves_the_sliders(panel):
    panel.write(f"1girl, {SEED_TAG}", layout=17)
    assert (panel.range("IN07").input_value(), panel.range("IN08").input_value()) == ("0.8", "0.2")
    panel.write(f"1girl, {SEED_TAG}".replace("0.8", "-1.5"), layout=17)
    panel.wait_for_value("IN07", "-1.5")
    assert panel.range("IN07").input_value() == "-1.5"


def test_a_slider_rewrites_its_tag_only(panel):
    panel.write(f"a {SEED_TAG} b <lora:plain:0.5> c", layout=17)
    panel.range("IN08").focus()
    panel.page.keyboard.press("ArrowRight")
    panel.page.keyboard.press("ArrowRight")
    panel.wait_for_prompt(f"a {SEED_TAG.replace('0.2', '0.3')} b <lora:plain:0.5> c")
    assert panel.page.evaluate("document.activeElement.ariaLabel") == "IN08"


def test_an_exact_value(panel):
    panel.write("<lora:plain:1>", layout=17)
    panel.field("M00").fill("0.123")
    panel.field("M00").press("Enter")
    panel.wait_for_prompt("<lora:plain:1:1,1,1,1,1,1,1,0.123,1,1,1,1,1,1,1,1,1>")
    panel.field("M00").fill("much")
    panel.field("M00").press("Enter")
    panel.wait_for_value("M00", "0.123")


def test_the_sliders_lie_as_the_unet_does(panel):
    panel.write("<lora:locon:1>", layout=26)
    box = {name: panel.range(name).bounding_box() for name in panel.names()}
    assert box["IN00"]["y"] < box["IN01"]["y"] < box["IN11"]["y"] < box["M00"]["y"]
    assert box["OUT11"]["y"] < box["OUT10"]["y"] < box["OUT00"]["y"] < box["M00"]["y"]
    assert box["IN04"]["y"] == box["OUT07"]["y"]
    assert box["IN04"]["x"] < box["M00"]["x"] < box["OUT07"]["x"]
    assert box["BASE"]["y"] < box["IN00"]["y"]


@pytest.mark.parametrize(("name", "layout"), [("plain", 17), ("locon", 26), ("sdxl", 12)])
def test_the_layout_fits_the_file(panel, name, layout):
    panel.write(f"<lora:{name}:1>", layout=layout)
    panel.range("IN04").focus()
    panel.page.keyboard.press("Home")
    values = ["1"] * layout
    values[panel_index(layout)] = "0"
    panel.wait_for_prompt(f"<lora:{name}:1:{','.join(values)}>")


def panel_index(layout):
    return {12: 1, 17: 3, 26: 5}[layout]


def test_blocks_without_layers_cannot_be_moved(panel):
    panel.write("<lora:plain:1>", layout=17)
    panel.page.wait_for_function("document.querySelector('[data-block=OUT09] input').disabled")
    assert panel.range("IN04").is_enabled()


def test_choosing_among_loras_by_keyboard(panel):
    panel.write(f"{SEED_TAG} <lora:locon:0.8:0.9>", layout=17)
    assert panel.loras.all_inner_texts() == ["plain\n1", "locon\n0.8:0.9"]
    panel.loras.nth(0).locator("input").focus()
    panel.page.keyboard.press("ArrowRight")
    panel.page.wait_for_function("document.querySelectorAll('.rimo-slider').length === 26")
    panel.field("IN04").fill("0.5")
    panel.field("IN04").press("Enter")
    vector = ",".join(["1"] * 5 + ["0.5"] + ["1"] * 20)
    panel.wait_for_prompt(f"{SEED_TAG} <lora:locon:0.8:0.9:{vector}>")


def test_presets(panel):
    panel.write("<lora:plain:1>", layout=17)
    preset = panel.page.locator(".rimo-preset")
    panel.page.wait_for_function("document.querySelector('.rimo-preset').options.length > 5")
    preset.select_option("MIDD")
    panel.wait_for_prompt("<lora:plain:1:MIDD>")
    panel.wait_for_value("IN01", "0")
    panel.field("IN01").fill("0.4")
    panel.field("IN01").press("Enter")
    panel.wait_for_prompt("<lora:plain:1:1,0.4,0,0,1,1,1,1,1,1,1,1,0,0,0,0,0>")
    assert preset.input_value() == ""
    panel.page.locator(".rimo-preset-name").fill("MINE")
    panel.page.get_by_role("button", name="Save preset").click()
    panel.page.wait_for_function("document.querySelector('.rimo-preset').value === 'MINE'")
    panel.page.get_by_role("button", name="Reset", exact=True).click()
    panel.wait_for_prompt("<lora:plain:1>")
    panel.wait_for_value("IN01", "1")


def test_the_sparse_form_stays_sparse(panel):
    panel.write("<lora:plain:1:IN04-IN05@0.5>", layout=17)
    panel.field("IN05").fill("0.25")
    panel.field("IN05").press("Enter")
    panel.wait_for_prompt("<lora:plain:1:IN04@0.5,IN05@0.25>")


def test_random_values_stay_until_they_are_set(panel):
    panel.write("<lora:plain:1:R,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1>", layout=17)
    panel.wait_for_value("BASE", "R")
    panel.field("IN01").fill("U")
    panel.field("IN01").press("Enter")
    panel.wait_for_prompt("<lora:plain:1:R,U,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1>")


def test_a_wrong_tag_is_explained(panel):
    panel.textarea.fill("<lora:plain:1:1,1,1>")
    problem = panel.page.locator(".rimo-problems div")
    problem.wait_for()
    assert problem.inner_text().startswith("<lora:plain:1:1,1,1> was left out: 3 block values")
    assert not panel.page.locator(".rimo-unet").is_visible()
    panel.page.get_by_role("button", name="Reset", exact=True).click()
    panel.wait_for_prompt("<lora:plain:1>")


def test_a_prompt_that_is_set_without_an_event_is_noticed(panel):
    panel.write("<lora:plain:1>", layout=17)
    panel.page.evaluate("text => (document.querySelector('textarea').value = text)", SEED_TAG)
    panel.wait_for_value("IN07", "0.8")


def test_the_pages_language(page, url):
    translations = json.loads((ROOT / "localizations" / "zh_CN.json").read_text(encoding="utf-8"))
    script = f"Object.assign(window.localization, {json.dumps(translations)});"
    page.route(
        re.compile("rimo_panel.js"),
        lambda route: route.fulfill(
            body=script + (ROOT / "javascript" / "rimo_panel.js").read_text(encoding="utf-8"),
            content_type="text/javascript",
        ),
    )
    page.goto(url)
    panel = Panel(page)
    panel.write("<lora:plain:1>", layout=17)
    assert page.get_by_role("button", name=translations["Save preset"]).is_visible()


FIELDS = """
<input type="radio" value="sd">
<div id="NAME_neg_prompt"><textarea>blurry</textarea></div>
<div id="NAME_scheduler"><input value="Karras"></div>
<div id="NAME_steps"><input type="number" value="8"><input type="range" value="3"></div>
<div id="NAME_cfg_scale"><input type="number" value="6.5"></div>
"""
TWO_FIELDS = """
<div id="NAME_width"><input type="number" value="128"></div>
<div id="NAME_height"><input type="number" value="192"></div>
"""
ONE_FIELD = '<div id="NAME_size"><KIND></div>'


# As the WebUI's option "Use dropdown for sampler selection" has it.
DROPDOWN = '<div id="NAME_sampling"><input value="Euler a"></div>'
RADIOS = """
<div id="NAME_sampling">
    <input type="radio" name="s" value="DPM++ 2M">
    <input type="radio" name="s" value="Euler a" checked>
</div>
"""


@pytest.mark.parametrize("sampler", [DROPDOWN, RADIOS], ids=["dropdown", "radio buttons"])
@pytest.mark.parametrize(
    "size",
    [
        TWO_FIELDS,
        ONE_FIELD.replace("KIND", 'input value="128x192"'),
        ONE_FIELD.replace("<KIND>", "<textarea>128x192</textarea>"),
    ],
    ids=["two fields", "one field", "a field of more lines"],
)
def test_a_search_draws_with_what_stands_in_the_tab(page, url, size, sampler):
    """And not with another field of the page, which has hundreds before it and behind it."""
    page.goto(url)
    fields = (FIELDS + sampler + size).replace("NAME", "txt2img")
    others = "".join(f'<div id="img2img_{n}"><input value="{n}"></div>' for n in ("size", "steps"))
    page.evaluate(
        "fields => document.body.insertAdjacentHTML('afterbegin', fields)", fields + others
    )
    assert page.evaluate("RimoSearch.pageOf('txt2img').settings") == {
        "negative_prompt": "blurry",
        "sampler": "Euler a",
        "schedule": "Karras",
        "steps": "8",
        "cfg_scale": "6.5",
        "width": "128",
        "height": "192",
    }


def test_every_text_of_the_panel_is_translated():
    translations = json.loads((ROOT / "localizations" / "zh_CN.json").read_text(encoding="utf-8"))
    source = (ROOT / "javascript" / "rimo_panel.js").read_text(encoding="utf-8")
    calls = re.findall(r'(?:say|button)\(\s*"([^"]+)"(?:,\s*"([^"]+)")?', source)
    titles = re.findall(r'(?:return|\?|:) "([A-Z][^"]+)"', source)
    said = {text for pair in calls for text in pair if text} | set(titles) | {TITLE}
    assert said <= set(translations)
