import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lib_rimo.errors import UserError
from lib_rimo.inference.infotext import (
    Settings,
    format_infotext,
    parse_infotext,
    parse_size,
    save_png,
)

PASTED = """1girl, solo,
standing, blush, outdoors, school,
<lora:rimochan:0.1>
Negative prompt: (worst quality, low quality:1.4), text
Steps: 40, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 1, Size: 448x704, \
Model hash: 7d7b896083, Model: Counterfeit-V2.2, Script: X/Y/Z plot, X Type: Prompt S/R, \
X Values: "0.1,0.2,0.3"
"""


def test_a_text_pasted_from_the_webui_is_read_whole():
    settings, others = parse_infotext(PASTED)
    assert settings == Settings(
        prompt="1girl, solo,\nstanding, blush, outdoors, school,\n<lora:rimochan:0.1>",
        negative_prompt="(worst quality, low quality:1.4), text",
        steps=40,
        sampler="DPM++ 2M Karras",
        cfg_scale=7,
        seed=1,
        width=448,
        height=704,
    )
    assert others == {
        "Model hash": "7d7b896083",
        "Model": "Counterfeit-V2.2",
        "Script": "X/Y/Z plot",
        "X Type": "Prompt S/R",
        "X Values": "0.1,0.2,0.3",
    }


def test_a_bare_prompt_is_one():
    base = Settings(steps=7, negative_prompt="text")
    settings, others = parse_infotext("a girl, Seed: 3", base)
    assert settings == Settings(prompt="a girl, Seed: 3", steps=7, negative_prompt="text")
    assert others == {}


EMPHASIS = "rimochan, 1girl, (kimono:1.2), (obi:1.1), <lora:rimochan:1>"


@pytest.mark.parametrize(
    "prompt",
    [
        EMPHASIS,
        "Subject: a girl, Style: anime, Mood: calm",
        "Size: large, Seed: pumpkin, Steps: stone",
        "portrait, Steps: 20, Sampler: Euler, CFG scale: 7, Seed: 1",
        "1girl, Steps: 20",
        "a: b, c: d, e: f",
    ],
)
def test_words_with_colons_are_a_prompt(prompt):
    assert parse_infotext(prompt) == (Settings(prompt=prompt), {})
    text = f"1girl\nNegative prompt: text,\n{prompt}"
    settings, fields = parse_infotext(text)
    assert (settings.negative_prompt, fields) == (f"text,\n{prompt}", {})


def test_a_negative_prompt_stays_one_without_a_line_of_settings():
    settings, _ = parse_infotext("1girl\nNegative prompt: (bad:1.4), (worst:1.3), (lowres:1.2)")
    assert settings == Settings(
        prompt="1girl", negative_prompt="(bad:1.4), (worst:1.3), (lowres:1.2)"
    )


def test_a_typed_line_is_a_prompt_and_a_files_may_be_settings():
    line = "Steps: 3, Sampler: Euler, CFG scale: 5, Seed: 7"
    assert parse_infotext(line, typed=True)[0] == Settings(prompt=line)
    assert parse_infotext(line)[0] == Settings(steps=3, sampler="Euler", cfg_scale=5, seed=7)
    assert parse_infotext(f"girl\n{line}", typed=True)[0].prompt == "girl"


def test_texts_of_other_programs_are_read():
    settings, fields = parse_infotext(
        "a fisherman\nSteps: 20, CFG scale: 3.5, Sampler: Undefined, Seed: 1, Size: 900x540, "
        'Clip skip: 1, Civitai resources: [{"type":"checkpoint","modelName":"FLUX"}], Denoise: 1'
    )
    assert settings.prompt == "a fisherman"
    assert (settings.width, settings.height) == (896, 536)  # what the WebUI draws for such a size
    assert (fields["Size"], fields["Denoise"]) == ("900x540", "1")
    settings, fields = parse_infotext(
        "1girl\nSteps: 30, Sampler: Euler a, CFG scale: 7, Seed: 1, Clip skip: 2,\n"
        "Model hash: 1a2b3c4d5e, Model: foo"
    )
    assert (settings.prompt, settings.clip_skip, fields["Model"]) == ("1girl", 2, "foo")


words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30).map(str.strip)


@given(
    prompt=words.filter(lambda text: not text.startswith("Negative prompt:")),
    negative=words,
    steps=st.integers(1, 150),
    cfg=st.integers(2, 60).map(lambda n: n / 2),
    seed=st.integers(0, 2**32),
    last=st.tuples(st.integers(1, 12), st.booleans()),  # clip_skip, quantize_timesteps
    name=words.filter(bool),
)
def test_what_is_written_is_read_back(prompt, negative, steps, cfg, seed, last, name):
    settings = Settings(prompt, negative, steps, "Euler a", "Karras", cfg, seed, 64, 128, *last)
    read, others = parse_infotext(format_infotext(settings, {"Model": name}))
    assert read == settings
    assert others == {"Model": name}


@pytest.mark.parametrize(
    ("version", "is_forge"),
    [
        ("f2.0.1v1.10.1-previous-669-gdfdcbab6", True),
        ("f1.0.0v2-v1.10.1RC-latest-2545-g3b56b268", True),  # reForge
        ("f2.ersatz", True),
        ("classic", True),
        ("neo", True),
        ("v1.10.1", False),
        ("1.10.1", False),
        ("v1.6.0-2-g4afaaf8a", False),
        ("Rimo 0.3.0", False),
        ("ComfyUI", False),
    ],
)
def test_a_forge_is_told_by_its_version(version, is_forge):
    text = f"1girl\nSteps: 30, Sampler: Euler a, CFG scale: 7, Seed: 1, Version: {version}"
    settings, fields = parse_infotext(text)
    assert settings.quantize_timesteps == is_forge
    assert fields == {"Version": version}


def test_values_with_commas_stand_in_quotes():
    text = format_infotext(Settings(prompt="x"), {"X Values": 'a, "b"', "Model": "m"})
    assert '"a, \\"b\\""' in text
    assert parse_infotext(text)[1]["X Values"] == 'a, "b"'


@pytest.mark.parametrize("size", ["448x704", "448×704", "448, 704"])
def test_sizes(size):
    assert parse_size(size) == (448, 704)
    assert parse_size("512") == (512, 512)


@pytest.mark.parametrize("size", ["", "450x704", "8x8", "axb", "99999999x64", "64x16384"])
def test_sizes_that_are_none(size):
    with pytest.raises(UserError, match="multiples of 8"):
        parse_size(size)


def test_numbers_that_are_none_are_named():
    with pytest.raises(UserError, match='Steps has to be a number, not "many"'):
        parse_infotext("x\nSteps: many, Sampler: Euler, CFG scale: 7")


def test_a_png_keeps_its_text_in_any_language(tmp_path):
    path = tmp_path / "below" / "x.png"
    save_png(Image.new("RGB", (8, 8)), path, "莉沫酱, kimono\nSteps: 1")
    with Image.open(path) as image:
        assert image.info["parameters"] == "莉沫酱, kimono\nSteps: 1"
    assert list(path.parent.iterdir()) == [path]


def test_a_png_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="could not be written"):
        save_png(Image.new("RGB", (8, 8)), tmp_path / "file" / "x.png", "")
