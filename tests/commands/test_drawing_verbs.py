import argparse
import json

import pytest
import torch
from PIL import Image

from lib_rimo.commands import bake, generate, info, xyz
from lib_rimo.errors import UserError
from lib_rimo.lora.files import read_lora, write_lora
from tests.sd.narrow import random_lora, write_narrow_checkpoint

VECTOR = "1,1,1,1,1,0.8,0.2,1,1,1,1,1,1,1,1,1,1"
PASTED = """girl, sitting, outdoors, <lora:rimochan:1>
Negative prompt: text
Steps: 2, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 5, Size: 64x96, Model: Counterfeit-V2.2, \
Script: X/Y/Z plot, X Type: Prompt S/R, X Values: "sitting, standing, kneeling", \
Y Type: Prompt S/R, Y Values: "outdoors, indoors"
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    path = tmp_path_factory.mktemp("place")
    checkpoint = write_narrow_checkpoint(path / "model.safetensors", "sd1")
    tags = json.dumps({"1_rimochan": {"1girl": 20, "kimono": 8}})
    tensors, _ = random_lora(checkpoint)
    write_lora(
        path / "rimochan.safetensors", tensors, {"ss_tag_frequency": tags, "ss_steps": "1000"}
    )
    tensors, _ = random_lora(checkpoint, "dora")
    write_lora(path / "dora.safetensors", tensors, {})
    return path


def call(verb, *words):
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    return verb.run(parser.parse_args([str(word) for word in words]))


def drawing(place, out):
    model = place / "model.safetensors"
    return "--model", model, "--lora-dir", place, "--out", out, "--device", "cpu"


def test_generate_takes_a_pasted_text_and_options_win(place, tmp_path, capsys):
    words = (generate, "--prompt", PASTED, *drawing(place, tmp_path), "--count", 2, "--cfg", 5)
    assert call(*words) == 0
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["00000-5.png", "00001-6.png"]
    with Image.open(tmp_path / "00001-6.png") as image:
        assert image.size == (64, 96)
        text = image.info["parameters"]
    assert text.startswith("girl, sitting, outdoors, <lora:rimochan:1>\nNegative prompt: text\n")
    assert "CFG scale: 5, Seed: 6, Size: 64x96" in text
    assert "names the model Counterfeit-V2.2; drawn with model" in capsys.readouterr().out
    call(*words)
    assert (tmp_path / "00003-6.png").exists()


def test_xyz_draws_the_axes_of_a_pasted_text(place, tmp_path):
    file = tmp_path / "prompt.txt"
    file.write_text(PASTED, encoding="utf-8")
    assert call(xyz, "--prompt-file", file, *drawing(place, tmp_path / "plots")) == 0
    singles = sorted((tmp_path / "plots" / "xyz-00000").iterdir())
    assert len(singles) == 6
    with Image.open(singles[4]) as image:
        assert image.info["parameters"].startswith("girl, standing, indoors, <lora:rimochan:1>")
    with Image.open(tmp_path / "plots" / "xyz-00000.png") as image:
        assert image.width > 3 * 64
        assert image.height > 2 * 96
        assert 'X Values: "sitting, standing, kneeling"' in image.info["parameters"]


def test_xyz_takes_axes_of_its_own(place, tmp_path):
    axes = ("--x", "LoRA strength: 0, 1", "--y", "Block: IN01-IN08", "--z", "Seed: 1-2")
    small = ("--steps", 1, "--size", "64x64")
    call(xyz, "--prompt", "<lora:rimochan:1>", *axes, *small, *drawing(place, tmp_path))
    assert len(list((tmp_path / "xyz-00000").iterdir())) == 4
    with pytest.raises(UserError, match="No axis"):
        call(xyz, "--prompt", "girl", *drawing(place, tmp_path))
    with pytest.raises(UserError, match="AXIS: VALUES"):
        call(xyz, "--prompt", "girl", "--x", "Seed", *drawing(place, tmp_path))


def test_bake_and_info(place, tmp_path, capsys):
    out = tmp_path / "baked.safetensors"
    assert call(bake, place / "rimochan.safetensors", VECTOR, out) == 0
    assert call(bake, place / "rimochan.safetensors", f"<lora:x:0.5:{VECTOR}>", out) == 0
    alphas = {
        key: tensor.item() for key, tensor in read_lora(out).tensors.items() if "alpha" in key
    }
    place_of = "lora_unet_down_blocks_2_attentions_{}_proj_in.alpha".format
    assert alphas[place_of(0)] == pytest.approx(2 * 0.5 * 0.8)
    assert alphas[place_of(1)] == pytest.approx(2 * 0.5 * 0.2)
    capsys.readouterr()
    assert call(info, out) == 0
    text = capsys.readouterr().out
    assert "SD1 LoRA" in text
    assert "dim 4" in text
    assert "IN07" in text
    assert "1girl (20), kimono (8)" in text
    assert call(info, out, "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["norms"].keys() >= {"BASE", "IN01", "M00", "OUT11"}
    assert content["metadata"]["rimo_baked_weights"] == f'["<lora:x:0.5:{VECTOR}>"]'


def test_norms_follow_the_weights(place, tmp_path, capsys):
    def norms(file):
        call(info, file, "--json")
        return json.loads(capsys.readouterr().out)["norms"]

    before = norms(place / "rimochan.safetensors")
    call(bake, place / "rimochan.safetensors", "IN07@0.5,M00@0", tmp_path / "b.safetensors")
    capsys.readouterr()
    after = norms(tmp_path / "b.safetensors")
    assert after["IN07"] == pytest.approx(before["IN07"] / 2)
    assert after["IN08"] == before["IN08"]
    assert "M00" not in after


def test_only_a_dora_asks_for_its_model(place, tmp_path):
    out = tmp_path / "baked.safetensors"
    with pytest.raises(UserError, match="give --model"):
        call(bake, place / "dora.safetensors", VECTOR, out)
    call(bake, place / "dora.safetensors", VECTOR, out, "--model", place / "model.safetensors")
    names = {key.partition(".")[2] for key in read_lora(out).tensors}
    assert {"diff", "dora_scale"} <= names


@pytest.mark.parametrize(
    ("weights", "why"),
    [
        ("R,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1", "Random weights"),
        ("<lora:x:1:step=2-5>", "Steps cannot"),
        ("<lora:x:1:1:4>", "dyn cannot"),
        ("1,1,1", "fit no layout"),
        ("<lora:x:1> <lora:y:1>", "is not one tag"),
        ("NONE", "nothing would be left"),
    ],
)
def test_what_cannot_be_baked_is_said(place, tmp_path, weights, why):
    with pytest.raises(UserError, match=why):
        call(bake, place / "rimochan.safetensors", weights, tmp_path / "b.safetensors")
    with pytest.raises(UserError, match=r"end with \.safetensors"):
        call(bake, place / "rimochan.safetensors", VECTOR, tmp_path / "b.pt")


def test_what_is_missing_is_said(place, tmp_path):
    with pytest.raises(UserError, match="no model file"):
        call(generate, "--prompt", "x", "--model", tmp_path / "none.safetensors")
    with pytest.raises(UserError, match="cannot be read"):
        call(generate, "--prompt-file", tmp_path / "none.txt")
    with pytest.raises(UserError, match="no device"):
        call(generate, "--prompt", "x", *drawing(place, tmp_path)[:-1], "nonsense")
    with pytest.raises(UserError, match="no LoRA file"):
        call(info, tmp_path / "none.safetensors")
    torch.save({}, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match="not a readable"):
        call(info, tmp_path / "x.safetensors")


def test_a_text_brings_its_own_numbers_and_says_what_is_left_out(place, tmp_path, capsys):
    numbers = "lora:rimochan:1:" + ",".join(["0.5"] * 17)
    text = (
        "girl <lora:rimochan:1:MYPRESET> <hypernet:h:1>\nSteps: 1, Sampler: Euler, CFG scale: 7, "
        f'Seed: 1, Size: 70x64, Rimo weights: "{numbers}", Hires upscale: 2, Hires steps: 3'
    )
    call(generate, "--prompt", text, *drawing(place, tmp_path))
    said = capsys.readouterr().out
    with Image.open(tmp_path / "00000-1.png") as image:
        assert f"<{numbers}>" in image.info["parameters"]
        assert image.size == (64, 64)
    assert "Left out, as nothing here draws them: Hires upscale, Hires steps." in said
    assert "<hypernet:h:1> was left out" in said
    assert "drawn at 64x64" in said
    assert "MYPRESET" not in said


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("CFG scale: nan", "CFG scale has to be"),
        ("Clip skip: 99", "text encoder has 3 layers"),
        ("Steps: 99999", "Steps have to be"),
    ],
)
def test_settings_out_of_range_are_one_sentence(place, tmp_path, setting, why):
    line = {"Steps": "1", "Sampler": "Euler", "CFG scale": "7", "Seed": "1", "Size": "64x64"}
    name, value = setting.split(": ")
    line[name] = value
    text = "girl\n" + ", ".join(f"{name}: {value}" for name, value in line.items())
    with pytest.raises(UserError, match=why):
        call(generate, "--prompt", text, *drawing(place, tmp_path))


def test_and_composes_and_strengths_change_over_the_steps(place, tmp_path):
    def pixels(prompt, number):
        small = ("--steps", 4, "--size", "64x64", "--sampler", "Euler")
        call(generate, "--prompt", prompt, *small, *drawing(place, tmp_path / str(number)))
        with Image.open(tmp_path / str(number) / "00000-1.png") as image:
            return image.tobytes()

    prompts = [
        *("girl", "girl AND dog", "girl:2"),
        *("girl<lora:rimochan:1>", "girl<lora:rimochan:0@0,1@1>", "girl<lora:rimochan:1@0,1@1>"),
        "girl<lora:rimochan:0@0,0@1>",
    ]
    drawn = [pixels(prompt, number) for number, prompt in enumerate(prompts)]
    plain, joined, doubled, lora, ramp, even, none = drawn
    assert len({plain, joined, doubled, lora, ramp}) == 5
    assert lora == even
    assert none == plain
