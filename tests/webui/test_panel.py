"""The block weights panel on a real WebUI's page."""

import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.webui.visit import visit

SEED_TAG = "<lora:one:1:1,1,1,1,1,0.8,0.2,1,1,1,1,1,1,1,1,1,1>"
SELECTOR = "#rimo_panel_{tab} .rimo-slider[data-block={block}] input[type={kind}]"


class Panel:
    """A tab's page with its panel open."""

    def __init__(self, page, server, tab):
        self.page = page
        self.page.set_default_timeout(120_000)  # a real host may be slow
        self.tab, self.errors = tab, []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(server.url, wait_until="domcontentloaded")
        self.prompt = self.page.locator(f"#{tab}_prompt textarea").first
        self.page.wait_for_selector(".rimo-panel .rimo-hint", state="attached")
        if tab == "img2img":
            self.page.locator("#tabs > .tab-nav > button").nth(1).click()
        self.page.locator(f"#rimo_panel_{tab} .label-wrap").first.click()

    def slider(self, block, kind="range"):
        place = SELECTOR.format(tab=self.tab, block=block, kind=kind)
        return self.page.locator(place).first

    def wait_for_sliders(self, count):
        self.page.wait_for_function(
            "([tab, count]) => document.querySelectorAll("
            "`#rimo_panel_${tab} .rimo-slider`).length === count",
            arg=[self.tab, count],
        )

    def wait_for_prompt(self, text):
        self.page.wait_for_function(
            "([tab, text]) => document.querySelector(`#${tab}_prompt textarea`).value === text",
            arg=[self.tab, text],
        )

    def wait_for_value(self, block, value):
        self.page.wait_for_function(
            "([place, value]) => document.querySelector(place)?.value === value",
            arg=[SELECTOR.format(tab=self.tab, block=block, kind="text"), value],
        )


@pytest.fixture
def open_panel(browser, server):
    opened = []
    with ExitStack() as pages:

        def open_panel(tab):
            page = pages.enter_context(visit(browser, viewport={"width": 1400, "height": 1200}))
            opened.append(Panel(page, server, tab))
            return opened[-1]

        yield open_panel
    assert not [error for panel in opened for error in panel.errors if "rimo" in error.lower()]


def test_there_is_one_panel_in_each_tab(open_panel):
    panel = open_panel("txt2img")
    assert panel.page.locator(".rimo-panel").count() == 2
    for tab in ("txt2img", "img2img"):
        assert panel.page.locator(f"#rimo_panel_{tab} .rimo-panel").count() == 1


@pytest.mark.parametrize("tab", ["txt2img", "img2img"])
def test_prompt_and_sliders_keep_step(open_panel, tab):
    panel = open_panel(tab)
    panel.prompt.fill(f"1girl, {SEED_TAG}, outdoors")
    panel.wait_for_sliders(17)
    assert panel.slider("IN07").input_value() == "0.8"
    panel.slider("IN08").focus()
    panel.page.keyboard.press("ArrowRight")
    panel.wait_for_prompt(f"1girl, {SEED_TAG.replace('0.2', '0.25')}, outdoors")
    panel.prompt.fill(f"1girl, {SEED_TAG.replace('0.8', '-0.5')}, outdoors")
    panel.wait_for_value("IN07", "-0.5")
    if shots := os.environ.get("RIMO_SCREENSHOTS"):
        shown = panel.page.locator(f"#rimo_panel_{tab}").first
        shown.screenshot(path=Path(shots) / f"panel_{tab}.png")


def test_the_layout_fits_the_file(open_panel):
    panel = open_panel("txt2img")
    panel.prompt.fill("<lora:all:0.8>")
    panel.wait_for_sliders(26)
    panel.slider("IN03", "text").fill("0.35")
    panel.slider("IN03", "text").press("Enter")
    panel.wait_for_prompt(f"<lora:all:0.8:1,1,1,1,0.35{',1' * 21}>")


def test_presets_are_kept(open_panel):
    panel = open_panel("txt2img")
    panel.prompt.fill("<lora:one:1>")
    panel.wait_for_sliders(17)
    preset = panel.page.locator("#rimo_panel_txt2img .rimo-preset").first
    preset.select_option("MIDD")
    panel.wait_for_prompt("<lora:one:1:MIDD>")
    panel.slider("IN01", "text").fill("0.4")
    panel.slider("IN01", "text").press("Enter")
    panel.page.locator("#rimo_panel_txt2img .rimo-preset-name").first.fill("MINE")
    panel.page.locator("#rimo_panel_txt2img .rimo-preset-name").first.press("Enter")
    panel.page.wait_for_function(
        "document.querySelector('#rimo_panel_txt2img .rimo-preset').value === 'MINE'"
    )
    again = open_panel("img2img")
    again.prompt.fill("<lora:one:1:MINE>")
    again.wait_for_value("IN01", "0.4")


def test_what_the_panel_writes_changes_the_picture(open_panel, server):
    panel = open_panel("txt2img")
    panel.prompt.fill("1girl, <lora:one:1>")
    panel.wait_for_sliders(17)
    panel.slider("M00").focus()
    panel.page.keyboard.press("Home")
    panel.wait_for_prompt(f"1girl, <lora:one:1:{'1,' * 7}0{',1' * 9}>")
    assert server.draw(panel.prompt.input_value()) != server.draw("1girl, <lora:one:1>")


def test_a_wrong_tag_is_explained(open_panel):
    panel = open_panel("txt2img")
    panel.prompt.fill("<lora:one:1:1,1,1> <lora:nosuch:1>")
    problems = panel.page.locator("#rimo_panel_txt2img .rimo-problems div")
    problems.nth(1).wait_for()
    wrong, missing = problems.all_inner_texts()
    assert missing == "nosuch: there is no such LoRA file."
    assert wrong.startswith("<lora:one:1:1,1,1> was left out: 3 block values fit no layout")
