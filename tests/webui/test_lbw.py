"""Rimo beside sd-webui-lora-block-weight, and against it."""

import json

import pytest

from tests.webui.baked import draw_baked

ELEMENTS = "ATTNDEEPOFF:IN05-OUT05:attn:0"
PLOT_ARGUMENTS = [0, *["none", ""] * 3, "", "", 10, "black", 20, False]
ARGUMENTS = [None, True, *PLOT_ARGUMENTS, ELEMENTS, False, False]  # None: its own presets
ACTIVE = {"alwayson_scripts": {"LoRA Block Weight": {"args": ARGUMENTS}}}
VECTOR = "0.3,1,0,1,0.5,0.1,1,0.2,1,-0.5,1,0,0.7,0,1.2,0,1.5"
SEED_TAG = "<lora:one:1:1,1,1,1,1,0.8,0.2,1,1,1,1,1,1,1,1,1,1>"
WHOLE = "0.3,1.1,0.2,1,0.5,0.1,1,0.9,1,-0.5,1,0,0.7,0,1.2,0,1.5,1,0.3,0.2,0.8,1,1.1,0.4,0.6,0.7"


@pytest.fixture(scope="module")
def alone(start, lbw):
    return start(lbw)


@pytest.fixture(scope="module")
def both(start, lbw):
    from tests.webui.folder import ROOT

    return start(ROOT, lbw)


TAGS = [
    f"<lora:one:0.9:lbw={VECTOR}>",
    f"<lora:all:0.9:lbw={WHOLE}>",
    f"<lora:all:0.9:lbw={VECTOR}>",
    "<lora:one:1:lbw=MIDD><lora:two:0.5:lbw=OUTALL>",
    f"<lora:one:0.8:0.4:lbw={VECTOR}>",
    "<lora:one:0.9:lbw=X,X-0.5,1,0,X+0.25,1,1,1,1,1,X,1,1,1,1,1,1:x=0.5>",
]
TAGS_OF_A1111 = [  # on Forge, LBW counts steps otherwise
    f"<lora:one:1:lbw={VECTOR}:start=2>",
    f"<lora:one:1:lbw={VECTOR}:stop=3>",
    f"<lora:all:1:lbw={WHOLE}:lbwe=ATTNDEEPOFF>",
]


@pytest.mark.parametrize("tag", TAGS + TAGS_OF_A1111)
def test_rimo_draws_what_lbw_draws(server, alone, both, tag):
    if tag in TAGS_OF_A1111 and server.host != "a1111":
        pytest.skip("LBW counts steps otherwise on this host")
    drawn = server.draw(f"a cat {tag}", steps=4)
    theirs = alone.draw(f"a cat {tag}", steps=4, **ACTIVE)
    assert drawn.distance(theirs) <= 1
    assert theirs != alone.draw("a cat", steps=4, **ACTIVE)
    assert both.draw(f"a cat {tag}", steps=4, **ACTIVE).distance(drawn) <= 1


def test_a_placeholder_is_left_to_lbw(both):
    drawn = both.draw("a cat <lora:one:1:lbw=XYZ><lora:two:1:IN07@0.5>", **ACTIVE)
    assert "Rimo notes" not in drawn.parameters


@pytest.mark.parametrize("settings", [{}, ACTIVE], ids=["as it comes", "its box ticked"])
@pytest.mark.parametrize("tag", [SEED_TAG, f"<lora:one:1:{VECTOR}>", "<lora:one:1:MIDD:start=2>"])
def test_nothing_is_applied_twice(server, both, tag, settings):
    assert both.draw(f"a cat {tag}", **settings) == server.draw(f"a cat {tag}")
    assert both.draw("a cat", **settings) == server.draw("a cat")


def test_the_panel_says_who_handles_what(server, both):
    """The page's own question; both panels are there once."""
    body = {"data": [json.dumps({"prompt": "<lora:one:1>"})]}
    alone, beside = (
        json.loads(one._json("run/rimo_panel", body)["data"][0])["messages"]
        for one in (server, both)
    )
    assert alone == []
    assert "sd-webui-lora-block-weight is installed too" in beside[0]["text"]
    assert [both.elements().count(f"rimo_panel_{tab}") for tab in ("txt2img", "img2img")] == [1, 1]


def test_a_copy_that_the_host_brings_does_not_act_once_more(server):
    """ersatzForge's, which has its box first and then its tables of presets and elements."""
    titles = server.call("scripts")["txt2img"]
    title = next((title for title in titles if title.startswith("lora block weight ")), None)
    if title is None:
        pytest.skip("the host brings no copy of sd-webui-lora-block-weight")
    tables = [["PRESET", VECTOR]], [["NONE", "", "", ""]]
    ticked = {"alwayson_scripts": {title: {"args": [True, *tables]}}}
    for text in (f"<lora:one:0.9:{VECTOR}>", f"<lora:one:0.9:lbw={VECTOR}>"):
        drawn = server.draw(f"a cat {text}", **ticked)
        assert drawn == server.draw(f"a cat {text}")
        assert drawn.distance(draw_baked(server, text, "sd1")) <= 1
    assert drawn != server.draw("a cat <lora:one:0.9>")
