"""The command line draws what the WebUI draws."""

import numpy as np
import pytest

from lib_rimo.inference.apply import LoraFolder
from lib_rimo.inference.generation import Generator
from lib_rimo.inference.infotext import parse_infotext
from lib_rimo.sd.checkpoint import load_checkpoint

LONG = "a cat, " * 40 + "dog BREAK house"
FEWER_RANKS = "a cat <lora:one:1:1:2>"
KARRAS = {"sampler_name": "DPM++ 2M", "scheduler": "Karras"}


@pytest.fixture(scope="module")
def is_classic(server):
    """Whether this is Forge Classic, whose samplers have their schedules in their names."""
    found = "DPM++ 2M Karras" in {sampler["name"] for sampler in server.call("samplers")}
    if found:  # by itself it draws the first step as if CFG were 1
        server.call("options", {"skip_early_cond": -1})
    return found


@pytest.fixture(scope="module")
def generator(server):
    return Generator(load_checkpoint(server.model), LoraFolder(server.data / "models/Lora"))


@pytest.mark.parametrize(
    ("prompt", "settings"),
    [
        ("a cat", {"sampler_name": "Euler"}),
        ("a cat", {"sampler_name": "Euler a", "steps": 8}),
        ("a cat", {"sampler_name": "DDIM", "steps": 10}),
        ("a cat", KARRAS | {"steps": 10, "width": 64, "height": 128}),
        ("a cat", KARRAS | {"override_settings": {"CLIP_stop_at_last_layers": 2}}),
        ("a (cat:1.4), [dog], ((house))", KARRAS | {"negative_prompt": "(text, logo:1.4)"}),
        ("[a:b:0.5] cat [red|blue]", {"sampler_name": "Euler", "steps": 9}),
        (LONG, KARRAS | {"negative_prompt": "x"}),
        ("a cat <lora:one:1>", KARRAS),
        ("a cat <lora:one:1:1,1,1,1,1,0.8,0.2,1,1,1,1,1,1,1,1,1,1>", KARRAS),
        ("a cat <lora:all:0.5:IN07@0> <lora:two:1:0.3>", KARRAS),
        ("a cat <lora:one:1:R,R,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1>", KARRAS),
        ("a cat <lora:one:1:step=1-2>", KARRAS),
        ("a cat <lora:one:0@0,1@1:MIDD>", KARRAS | {"steps": 5}),
        ("a cat <lora:all:1:ALL:lbwe=IN05-OUT05/attn@0>", KARRAS),
        (FEWER_RANKS, KARRAS),
    ],
)
def test_the_command_line_draws_what_the_webui_draws(
    server, is_classic, generator, prompt, settings
):
    if is_classic and "scheduler" in settings:
        settings = {**settings, "sampler_name": "DPM++ 2M Karras"}
    drawn = server.draw(prompt, cfg_scale=6, **settings)
    if server.host == "forge" and prompt == FEWER_RANKS:
        assert "Forge has no dyn=" in drawn.parameters["Rimo notes"]
        return
    read, _ = parse_infotext(drawn.info["infotexts"][0])
    (picture,) = generator.draw(read)
    difference = np.abs(np.asarray(picture.image).astype(int) - drawn.pixels[0].astype(int))
    # Both cut off decimals, so the last bits of their floats show in single values.
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01
