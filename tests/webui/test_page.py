"""The page of a real WebUI with Rimo: the panel, what is said under a picture, Reload UI."""

import re

import pytest

from lib_rimo.ui.panel import TITLE

SEED_TAG = "<lora:one:1:1,1,1,1,1,0.8,0.2,1,1,1,1,1,1,1,1,1,1>"
PROMPT = "#txt2img_prompt textarea"
PATIENCE = 180  # seconds; a busy machine takes a minute to show the page
PANEL = "#rimo_panel_txt2img"


@pytest.fixture
def page(browser, server):
    page = browser.new_page(viewport={"width": 1400, "height": 1600})
    page.set_default_timeout(1000 * PATIENCE)
    open_page(page, server)
    yield page
    page.close()


def open_page(page, server):
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


def test_a_pasted_infotext_brings_the_numbers(page, server):
    tag = "a cat <lora:one:1:R,R,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1>"
    infotext = server.draw(tag, seed=12).info["infotexts"][0]
    page.fill(PROMPT, infotext)
    page.click("#txt2img_tools #paste")
    page.wait_for_function(f"!document.querySelector('{PROMPT}').value.includes('Steps:')")
    pasted = page.input_value(PROMPT)
    assert "R,R" not in pasted
    assert "Rimo weights" not in server.draw(pasted, seed=13).parameters
    assert server.draw(pasted, seed=12) == server.draw(tag, seed=12)
