"""The page of a real WebUI with Rimo: the panel, what is said under a picture, Reload UI."""

import os
import re
from pathlib import Path

import pytest

from lib_rimo.ui.panel import TITLE
from tests.webui.visit import visit

SEED_TAG = "<lora:one:1:1,1,1,1,1,0.8,0.2,1,1,1,1,1,1,1,1,1,1>"
PROMPT = "#txt2img_prompt textarea"
PATIENCE = 180  # seconds; a busy machine takes a minute to show the page
PANEL = "#rimo_panel_txt2img"


@pytest.fixture
def page(browser, server):
    with visit(browser, viewport={"width": 1400, "height": 1600}) as page:
        open_page(page, server)
        yield page


def open_page(page, server):
    page.set_default_timeout(1000 * PATIENCE)
    page.goto(server.url)
    page.wait_for_selector(PROMPT)
    page.wait_for_selector(PANEL)


def open_panel(page):
    accordion = page.locator(PANEL).first
    accordion.get_by_text(TITLE).click()
    return accordion


def slider(panel, block):
    return panel.locator(f'input[type=range][aria-label="{block}"]')


def test_the_panel_is_there_once_on_each_tab(page):
    for tab in ("txt2img", "img2img"):
        assert page.locator(f"#rimo_panel_{tab} .rimo-panel").count() == 1
    assert page.get_by_text(TITLE, exact=True).count() == 2


def test_sliders_and_prompt_are_in_step(page, tmp_path):
    page.fill(PROMPT, f"a cat {SEED_TAG}")
    panel = open_panel(page)
    slider(panel, "IN07").wait_for()
    assert slider(panel, "IN07").input_value() == "0.8"
    assert slider(panel, "IN08").input_value() == "0.2"
    slider(panel, "OUT03").focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(f"document.querySelector('{PROMPT}').value != 'a cat {SEED_TAG}'")
    values = re.search(r"<lora:one:1:([^>]*)>", page.input_value(PROMPT))[1].split(",")
    assert len(values) == 17
    assert [values[position] for position in (5, 6)] == ["0.8", "0.2"]
    assert 0.8 <= float(values[8]) < 1
    page.screenshot(path=tmp_path / "panel.png")


def test_what_is_wrong_is_said_under_the_picture(page):
    page.fill(PROMPT, "a cat <lora:one:1:1,2,3>")
    page.click("#txt2img_generate")
    said = page.locator("#html_log_txt2img .comments").first
    said.wait_for()
    assert "<lora:one:1:1,2,3> was left out" in said.inner_text()


def test_wrong_axis_values_are_said_in_the_picture_s_place(page, server):
    if server.host != "a1111":
        pytest.skip("this host's page chooses scripts in another way; the API says the same")

    def choose(dropdown, name):
        page.locator(f"{dropdown} input").first.click()
        option = page.locator(f"{dropdown} ul.options li", has_text=name).first
        option.dispatch_event("mousedown")

    page.fill(PROMPT, "a cat <lora:one:1>")
    choose("#script_list", "X/Y/Z plot")
    # First, since the page writes into the field once more when the axis is chosen.
    page.fill("#script_txt2img_xyz_plot_x_values textarea", "MIDD; 1,2,3")
    choose("#script_txt2img_xyz_plot_x_type", "Block weights")
    page.click("#txt2img_generate")
    said = page.locator("#html_log_txt2img .error").first
    said.wait_for()
    assert said.inner_text().startswith("AxisError: 3 block values fit no layout")


def paste(page, infotext):
    """Paste an infotext as a user does; gives the prompt that comes of it."""
    page.fill(PROMPT, infotext)
    page.click("#txt2img_tools #paste")
    page.wait_for_function(f"!document.querySelector('{PROMPT}').value.includes('Steps:')")
    return page.input_value(PROMPT)


def test_a_pasted_infotext_brings_random_values(page, server):
    tag = "a cat <lora:one:1:R,R,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1>"
    pasted = paste(page, server.draw(tag, seed=12).info["infotexts"][0])
    assert "R,R" not in pasted
    assert "Rimo weights" not in server.draw(pasted, seed=13).parameters
    assert server.draw(pasted, seed=12) == server.draw(tag, seed=12)


def test_a_pasted_infotext_brings_a_preset_s_numbers(page, server):
    presets = server.data / "rimo" / "lbwpresets.txt"
    presets.parent.mkdir(exist_ok=True)
    presets.write_text("PASTED:1,0,0.5" + ",1" * 14)
    drawn = server.draw("a cat, <lora:one:0.5:PASTED> house")
    presets.write_text("PASTED:0" + ",0" * 16)
    pasted = paste(page, drawn.info["infotexts"][0])
    assert pasted == f"a cat, <lora:one:0.5:1,0,0.5{',1' * 14}> house"
    assert server.draw(pasted) == drawn


def test_the_panel_speaks_chinese(browser, server):
    try:
        server.call("options", {"localization": "zh_CN"})
        server.reload_ui()
        with visit(browser) as page:
            open_page(page, server)
            page.fill(PROMPT, "<lora:one:1>")
            page.locator(f"{PANEL} .label-wrap").first.click()
            page.locator(f"{PANEL} .rimo-slider").first.wait_for()
            shown = page.locator(PANEL).first.inner_text()
            assert all(text in shown for text in ("分层权重", "重置"))
            if shots := os.environ.get("RIMO_SCREENSHOTS"):
                page.locator(PANEL).first.screenshot(path=Path(shots) / "panel_zh.png")
    finally:
        server.call("options", {"localization": "None"})
        server.reload_ui()
