import json

import pytest

from lib_rimo.errors import UserError
from lib_rimo.training.config.options import TrainingOptions
from lib_rimo.training.sample_prompts import sample_settings

TOML = """
[prompt]
width = 64
sample_steps = 3
[[prompt.subset]]
prompt = "1girl"
seed = 5
[[prompt.subset]]
prompt = "2girls"
width = 128
negative_prompt = "-bad, hands"
"""


def settings_of(source, **options):
    return sample_settings(
        TrainingOptions(sample_prompts=str(source), resolution="256", **options), ["a caption"]
    )


def test_a_line_has_letters_behind_the_prompt():
    (one,) = settings_of(
        "1girl, solo --n bad, hands --w 64 --h 128 --s 3 --l 4.5 --d 9 --ss euler_a"
    )
    assert (one.prompt, one.negative_prompt) == ("1girl, solo", "bad, hands")
    assert (one.width, one.height, one.steps, one.cfg_scale, one.seed) == (64, 128, 3, 4.5, 9)
    assert one.sampler == "Euler a"


def test_all_kinds_of_files_hold_prompts(tmp_path):
    toml, text, table = (tmp_path / f"prompts.{kind}" for kind in ("toml", "txt", "json"))
    toml.write_text(TOML)
    first, second = settings_of(toml)
    assert (first.prompt, first.width, first.height, first.steps, first.seed) == (
        "1girl",
        64,
        256,
        3,
        5,
    )
    assert (second.prompt, second.width, second.steps) == ("2girls", 128, 3)
    text.write_text("# not this\n1girl --w 64\n\n2girls\n")
    assert [one.prompt for one in settings_of(text)] == ["1girl", "2girls"]
    table.write_text(json.dumps([{"prompt": "1girl", "scale": 3, "sample_sampler": "ddim"}, "b"]))
    first, second = settings_of(table, sample_sampler="euler")
    assert (first.cfg_scale, first.sampler) == (3, "DDIM")
    assert (second.prompt, second.sampler) == ("b", "Euler")


def test_without_prompts_the_first_caption_is_drawn():
    (one,) = settings_of("")
    assert (one.prompt, one.sampler) == ("a caption", "DPM++ 2M")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.toml", b"[prompt]\nsubset = 3", r"write \[prompt\]"),
        ("a.json", b"{", "a.json is not valid"),
        ("a.json", b"{}", "write a list of tables"),
        ("a.txt", "和服".encode("gbk"), "save it as UTF-8"),
        ("a.txt", b"1girl --n don't", "cannot be read"),
        ("a.txt", b"1girl --w wide", "cannot be read"),
        ("a.txt", None, "check the path"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, name, content, sentence):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        settings_of(tmp_path / name)
