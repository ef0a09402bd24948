"""SDXL on a real WebUI, with a random model: a narrow one, which AUTOMATIC1111 makes by a `.yaml`;
for the Forges one of the shapes by which they know SDXL, 2.4 GB on the disk."""

import json
import os
from pathlib import Path

import pytest

from tests.webui.baked import draw_baked
from tests.webui.folder import ROOT
from tests.webui.sdxl import write_sdxl, write_sdxl_for_forges
from tests.webui.test_lbw import ACTIVE
from tests.webui.training import few_steps, train

TWELVE = "0,1,0,1,0.5,0,1,-0.5,1,0,1,1.5"
TWENTY = "0.3,1.1,0.2,1,0.5,0.1,1,0.9,1,-0.5,1,0,0.7,0,1.2,0,1.5,1,0.3,0.2"
SEVENTEEN = ",".join("1" * 17)


@pytest.fixture(scope="module")
def model(host, tmp_path_factory):
    if path := os.environ.get("RIMO_WEBUI_SDXL"):
        return Path(path)
    folder = tmp_path_factory.mktemp("sdxl")
    if host == "a1111":
        return write_sdxl(folder)
    return write_sdxl_for_forges(folder / "sdxl.safetensors")


@pytest.fixture(scope="module")
def server(start, model):
    return start(ROOT, model=model)


def test_the_lora_and_its_blocks_act(server):
    prompts = ("a cat", *(f"a cat <lora:one:1{blocks}>" for blocks in ("", f":{TWELVE}", ":MIDD")))
    drawn = [server.draw(prompt) for prompt in prompts]
    assert len({picture.pixels[0].tobytes() for picture in drawn}) == 4
    assert server.draw(f"a cat <lora:one:1:{','.join('1' * 12)}>") == drawn[1]
    assert server.draw("a cat <lora:one:1:NONE>") == server.draw("a cat <lora:one:0>") == drawn[0]


@pytest.mark.parametrize(("name", "weights"), [("one", TWELVE), ("all", TWELVE), ("all", TWENTY)])
def test_a_tag_draws_what_its_baked_file_draws(server, name, weights):
    text = f"<lora:{name}:0.9:{weights}>"
    drawn, from_file = server.draw(f"a cat {text}"), draw_baked(server, text, "sdxl")
    assert drawn.distance(from_file) <= 1
    assert drawn != server.draw(f"a cat <lora:{name}:0.9>")


def test_seventeen_values_are_said(server):
    drawn = server.draw(f"a cat <lora:one:1:{SEVENTEEN}>")
    assert "17" in drawn.parameters["Rimo notes"]
    assert "SDXL" in drawn.parameters["Rimo notes"]


def test_lbw_draws_the_same(server, make_server, model, lbw):
    tags = [f"a cat <lora:all:0.9:lbw={weights}>" for weights in (TWELVE, TWENTY)]
    with make_server(lbw, model=model) as beside:
        theirs = [beside.draw(tag, steps=4, **ACTIVE) for tag in tags]
    for tag, drawn in zip(tags, theirs, strict=True):
        assert server.draw(tag, steps=4).distance(drawn) <= 1


def test_the_panel_has_its_sliders(server):
    body = {"data": [json.dumps({"prompt": "<lora:one:1><lora:all:1>"})]}
    told = json.loads(server._json("run/rimo_panel", body)["data"][0])
    blocks = {name: len(file["blocks"]) for name, file in told["files"].items()}
    assert blocks == {"one": 12, "all": 20}


def test_axes_draw_grids(server):
    xyz = server.plot_script()
    labels = [argument["label"] for argument in xyz["args"]]
    choices = xyz["args"][0]["choices"]
    arguments = [argument["value"] for argument in xyz["args"]]
    axes = [("Block", "BASE, IN04-IN08, M00, OUT00-OUT05"), ("Block value", "0, 0.5")]
    for number, (label, values) in enumerate([*axes, ("Nothing", "")]):
        arguments[3 * number : 3 * number + 3] = [choices.index(label), values, []]
    arguments[labels.index("Include Sub Images")] = True
    grid = server.draw(
        "a cat <lora:one:1>", script_name="x/y/z plot", script_args=arguments, steps=1
    )
    alone = server.draw("a cat <lora:one:1:M00@0.5>", steps=1)
    cells = {pixels.tobytes() for pixels in grid.pixels[1:]}
    assert len(cells) == 8
    assert alone.pixels[0].tobytes() in cells


def test_the_infotext_keeps_the_tag(server):
    drawn = server.draw(f"a cat <lora:one:1:{TWELVE}>")
    assert f"<lora:one:1:{TWELVE}>" in drawn.info["infotexts"][0]
    assert "Rimo notes" not in drawn.parameters


def test_the_refiner_has_the_blocks_too(server):
    other = server.model.with_name("other.safetensors")
    for suffix in (".safetensors", ".yaml"):
        if (file := server.model.with_suffix(suffix)).exists():
            other.with_suffix(suffix).symlink_to(file.resolve())
    server.call("refresh-checkpoints", {})
    refined = server.refined(other.name)
    tag = f"<lora:all:1:{TWELVE}>"
    drawn, plain = server.draw(f"a cat {tag}", **refined), server.draw("a cat", **refined)
    assert "Refiner" in plain.parameters
    assert drawn != plain
    assert server.draw("a cat <lora:all:1:NONE>", **refined) == plain
    assert draw_baked(server, tag, "sdxl", **refined).distance(drawn) <= 1


def test_from_pictures_to_a_picture_with_a_vector(server):
    train(server, few_steps(server))
    plain, whole = server.draw("rimochan"), server.draw("rimochan <lora:trained:1>")
    part = server.draw(f"rimochan <lora:trained:1:{TWELVE}>")
    assert len({picture.pixels[0].tobytes() for picture in (plain, whole, part)}) == 3
    assert "trained:" in whole.parameters["Lora hashes"]
