"""What a real WebUI draws with Rimo: block weights, their notes, plots."""

import json

import numpy as np
import pytest

from tests.webui.baked import draw_baked
from tests.webui.server import RefusedError, as_base64

SEED_VECTOR = "1,1,1,1,1,0.8,0.2,1,1,1,1,1,1,1,1,1,1"
MIXED = "0,1,0,1,0.5,0,1,0,1,-0.5,1,0,1,0,1,0,1.5"
ONES, ZEROS = ",".join("1" * 17), ",".join("0" * 17)
HIRES = {
    "enable_hr": True,
    "hr_scale": 2,
    "hr_upscaler": "None",  # plain resizing; Forge Neo has no other without a file
    "denoising_strength": 0.7,
    "hr_second_pass_steps": 2,
    "hr_additional_modules": ["Use same choices"],  # Forge's API fails without
}


@pytest.fixture(scope="module")
def plain(server):
    return server.draw("a cat")


@pytest.fixture(scope="module")
def one(server):
    return server.draw("a cat <lora:one:1>")


def test_the_lora_acts(plain, one):
    assert plain != one


def test_the_seed_s_tag_changes_the_picture(server, plain, one):
    drawn = server.draw(f"a cat <lora:one:1:{SEED_VECTOR}>")
    assert drawn not in (plain, one)
    assert drawn == server.draw("a cat <lora:one:1:IN07@0.8,IN08@0.2>")
    assert not [key for key in drawn.parameters if key.startswith("Rimo")]


@pytest.mark.parametrize(
    ("name", "weights"),
    [("one", SEED_VECTOR), ("one", MIXED), ("all", "IN03@0,IN06@0.3,M00@0.2,OUT01-OUT05@0.5")],
)
def test_a_tag_draws_what_its_baked_file_draws(server, name, weights):
    text = f"<lora:{name}:0.9:{weights}>"
    drawn, from_file = server.draw(f"a cat {text}"), draw_baked(server, text, "sd1")
    assert drawn.distance(from_file) <= 1
    assert drawn != server.draw(f"a cat <lora:{name}:0.9>")


def test_all_ones_draw_what_the_plain_tag_draws_byte_for_byte(server, one):
    assert server.draw(f"a cat <lora:one:1:{ONES}>") == one


@pytest.mark.parametrize("tag", ["<lora:one:0>", f"<lora:one:1:{ZEROS}>", "<lora:one:0:MIDD>"])
def test_zero_draws_what_no_tag_draws(server, plain, tag):
    assert server.draw(f"a cat {tag}") == plain


@pytest.mark.parametrize(
    "wrong", ["<lora:two:1:1,2,3>", "<lora:two:1:NOPE>", "<lora:nix:1>", "<lora:two:x=>"]
)
def test_a_wrong_tag_leaves_the_good_one_s_picture_and_is_said(server, wrong):
    good = server.draw(f"a cat <lora:one:1:{MIXED}>")
    drawn = server.draw(f"a cat <lora:one:1:{MIXED}>{wrong}")
    assert drawn == good
    assert wrong[:10] in drawn.parameters["Rimo notes"]
    assert "Rimo notes" in drawn.info["infotexts"][0]


def test_a_slip_of_the_pen_is_said(server, one):
    drawn = server.draw("a cat <lora:one:1:strat=1>")
    assert drawn == one
    assert 'did you mean "start="?' in drawn.parameters["Rimo notes"]


def test_each_tag_of_one_lora_acts_for_itself(server):
    twice = server.draw("a cat <lora:one:0.5:IN07@0><lora:one:0.5:IN08@0>")
    assert twice.distance(server.draw("a cat <lora:one:1:IN07-IN08@0.5>")) <= 1
    same = server.draw("a cat <lora:one:0.5:IN07@0><lora:one:0.5:IN07@0>")
    assert same.distance(server.draw("a cat <lora:one:1:IN07@0>")) <= 1


def test_one_tag_fades_in_while_another_fades_out(server):
    drawn = server.draw("a cat <lora:one:0@0,1@1><lora:one:1@0,0@1>", steps=4)
    assert drawn.distance(server.draw("a cat <lora:one:1>", steps=4)) <= 1


def test_blocks_do_not_stay_in_the_model(server, plain, one):
    server.draw(f"a cat <lora:one:1:{MIXED}>")
    assert server.draw("a cat <lora:one:1>") == one
    server.draw(f"a cat <lora:one:1:{MIXED}>")
    assert server.draw("a cat") == plain


def test_two_loras_at_once(server):
    both = server.draw(f"a cat <lora:one:0.7:{MIXED}><lora:two:0.7:MIDD>")
    assert both != server.draw(f"a cat <lora:one:0.7:{MIXED}>")
    assert both != server.draw("a cat <lora:two:0.7:MIDD>")
    assert both != server.draw("a cat <lora:one:0.7><lora:two:0.7>")


def test_the_text_encoder_s_block(server, one):
    """The WebUI keeps a prompt's encodings; another BASE must not find the old ones."""
    drawn = [server.draw(f"a cat <lora:one:1:BASE@{weight}>") for weight in (0, 0.5, 1)]
    assert drawn[0] != drawn[1] != drawn[2]
    assert drawn[2] == one


def test_a_batch(server):
    tag = f"a cat <lora:one:1:{MIXED}>"
    batch = server.draw(tag, batch_size=2)
    second = server.draw(tag, seed=2)
    distance = np.abs(batch.pixels[-1].astype(int) - second.pixels[0].astype(int)).max()
    assert distance <= 2  # a batch of two rounds differently


def test_random_values_come_from_the_picture_s_seed(server):
    tag = "a cat <lora:one:1:R,R,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1>"
    drawn = server.draw(tag, n_iter=2)
    alone = [server.draw(tag, seed=seed) for seed in (1, 2)]
    for number, picture in enumerate(alone):
        assert np.array_equal(drawn.pixels[number - 2], picture.pixels[0])
        assert picture.parameters["Rimo weights"] in drawn.info["infotexts"][number - 2]
    assert alone[0].parameters["Rimo weights"] != alone[1].parameters["Rimo weights"]
    written = f"a cat <{alone[0].parameters['Rimo weights']}>"
    assert server.draw(written) == alone[0]


@pytest.fixture
def presets(server):
    path = server.data / "rimo" / "lbwpresets.txt"
    path.parent.mkdir(exist_ok=True)
    yield path
    path.unlink()


def test_a_preset_s_numbers_are_in_the_infotext(server, presets):
    presets.write_text(f"WILD:{MIXED}")
    drawn = server.draw("a cat <lora:one:0.8:lbw=WILD>")
    assert drawn.parameters["Rimo weights"] == f"lora:one:0.8:{MIXED}"
    assert drawn == server.draw(f"a cat <lora:one:0.8:{MIXED}>")
    presets.write_text(f"WILD:{SEED_VECTOR}")
    assert server.draw("a cat <lora:one:0.8:lbw=WILD>") != drawn


def test_the_second_pass(server):
    plain, one = server.draw("a cat", **HIRES), server.draw("a cat <lora:one:1>", **HIRES)
    mixed = server.draw(f"a cat <lora:one:1:{MIXED}>", **HIRES)
    assert server.draw(f"a cat <lora:one:1:{ONES}>", **HIRES) == one
    assert mixed not in (plain, one)
    prompts = {"hr_prompt": f"a cat <lora:one:1:{SEED_VECTOR}>"}
    other = server.draw(f"a cat <lora:one:1:{MIXED}>", **HIRES, **prompts)
    assert other not in (plain, one, mixed)
    assert server.draw(f"a cat <lora:one:1:{MIXED}>", **HIRES) == mixed


def test_img2img(server, plain):
    settings = {
        "path": "img2img",
        "init_images": [as_base64(plain.pixels[0])],
        "denoising_strength": 0.7,
        "steps": 4,
    }
    server.draw("a cat", **settings)
    drawn = {
        tag: server.draw(f"a cat {tag}", **settings)
        for tag in ("", "<lora:one:1>", "<lora:one:1:ALL>", "<lora:one:1:NONE>", "<lora:one:1:INS>")
    }
    assert drawn["<lora:one:1:ALL>"] == drawn["<lora:one:1>"] != drawn[""]
    assert drawn["<lora:one:1:NONE>"] == drawn[""]
    assert drawn["<lora:one:1:INS>"] not in (drawn[""], drawn["<lora:one:1>"])


def test_start_and_stop(server, plain, one):
    step = {
        text: server.draw(f"a cat <lora:one:1:BASE@0:{text}>", steps=4)
        for text in ("start=0", "start=2", "stop=2", "stop=0")
    }
    assert step["start=0"] == server.draw("a cat <lora:one:1:BASE@0>", steps=4)
    assert step["stop=0"] == server.draw("a cat", steps=4)
    assert step["start=2"] not in (step["stop=2"], step["start=0"], step["stop=0"])
    assert server.draw("a cat <lora:one:1>") == one


@pytest.fixture
def replaced(server):
    """A LoRA's file that others take the place of; later tests find the folder as it was."""
    path = server.data / "models/Lora/replaced.safetensors"
    path.write_bytes(path.with_name("one.safetensors").read_bytes())
    server.call("refresh-loras", {})
    yield path
    path.unlink()
    server.call("refresh-loras", {})


def test_a_file_replaced_under_its_name(server, replaced):
    tag = "a cat <lora:{}:1:IN07@0.5>"
    assert server.draw(tag.format("replaced")) == server.draw(tag.format("one"))
    before = server.draw("a cat <lora:replaced:1>").parameters.get("Lora hashes")
    server.draw(tag.format("replaced"))
    replaced.write_bytes(replaced.with_name("two.safetensors").read_bytes())
    after = server.draw(tag.format("replaced"))
    assert after.parameters.get("Lora hashes") != before
    assert after == server.draw(tag.format("two"))


@pytest.fixture(scope="module")
def plot(server):
    """Draws an X/Y/Z plot: (label, values) for each axis -> the cells."""
    xyz = server.plot_script()
    labels = [argument["label"] for argument in xyz["args"]]
    choices = xyz["args"][0]["choices"]

    def plot(prompt, *axes):
        arguments = [argument["value"] for argument in xyz["args"]]
        while len(axes) < 3:
            axes = (*axes, ("Nothing", ""))
        for number, (label, values) in enumerate(axes):
            arguments[3 * number : 3 * number + 3] = [choices.index(label), values, []]
        for label in ("Include Sub Images", "Include Sub Grids"):
            arguments[labels.index(label)] = label == "Include Sub Images"
        drawn = server.draw(prompt, script_name="x/y/z plot", script_args=arguments)
        return [pixels.tobytes() for pixels in drawn.pixels[1:]]

    return plot


@pytest.mark.parametrize(
    ("axes", "cells", "different"),
    [
        ([("LoRA strength", "0-1 [3]")], 3, 3),
        ([("Block weights", f"MIDD; {SEED_VECTOR}; IN07@0.5,IN08@0")], 3, 3),
        ([("Block", "BASE, IN04-IN08, OUT03-OUT11"), ("Block value", "0, 0.5")], 6, 6),
        ([("LoRA file", "None, one, two"), ("LoRA strength", "0.5, 1")], 6, 5),
    ],
)
def test_axes_draw_grids(plot, axes, cells, different):
    drawn = plot("a cat <lora:one:1>", *axes)
    assert (len(drawn), len(set(drawn))) == (cells, different)


def test_axes_of_two_loras_compose(plot, server):
    prompt = "a cat <lora:one:1><lora:two:1>"
    drawn = plot(prompt, ("LoRA strength", "one: 0, 1"), ("LoRA strength", "two: 0, 1"))
    alone = [server.draw(f"a cat <lora:one:{one}><lora:two:{two}>") for two in "01" for one in "01"]
    assert drawn == [picture.pixels[0].tobytes() for picture in alone]


@pytest.mark.parametrize(
    ("prompt", "axis", "sentence"),
    [
        ("a cat", ("LoRA strength", "0, 1"), "The prompt has no LoRA to vary"),
        ("a cat <lora:one:1><lora:two:1>", ("LoRA strength", "0, 1"), "The prompt has 2 LoRAs"),
        ("a cat <lora:one:1>", ("Block weights", "1,2,3"), "3 block values fit no layout"),
        ("a cat <lora:one:1>", ("LoRA file", "nix"), 'There is no LoRA file "nix"'),
    ],
)
def test_wrong_values_are_refused_before_the_first_picture(server, plot, prompt, axis, sentence):
    before = server.log.read_text(errors="replace")
    with pytest.raises(RefusedError) as answer:
        plot(prompt, ("Seed", "1-2"), axis)
    assert json.loads(str(answer.value))["detail"].startswith(sentence)
    assert "X/Y/Z plot will create" not in server.log.read_text(errors="replace")[len(before) :]


def test_reload_ui_leaves_no_double_effect(server):
    prompts = [f"a cat {tag}" for tag in (f"<lora:one:1:{SEED_VECTOR}>", "<lora:one:1>", "")]
    drawn = [server.draw(prompt) for prompt in prompts]
    for _ in range(2):
        server.reload_ui()
        assert [server.draw(prompt) for prompt in prompts] == drawn
    assert [server.elements().count(f"rimo_panel_{tab}") for tab in ("txt2img", "img2img")] == [
        1,
        1,
    ]
    assert server.plot_script()["args"][0]["choices"].count("Block weights") == 1
