import re
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_rimo.weights.block_weights import BlockWeights
from lib_rimo.weights.grammar import parse_blocks, parse_elements
from lib_rimo.weights.presets import DEFAULT_PRESETS, Presets
from lib_rimo.weights.tags import (
    LoraTag,
    edit_tags,
    find_extra_networks,
    format_tag,
    other_kinds,
    parse_prompt,
)

SEED_TAG = "<lora:rimochan:1:1,1,1,1,1,0.8,0.2,1,1,1,1,1,1,1,1,1,1>"


def parse_one(text, presets=DEFAULT_PRESETS):
    _, tags, problems = parse_prompt(text, presets)
    assert problems == ()
    (tag,) = tags
    return tag


def problem_of(text):
    rest, tags, (message,) = parse_prompt(text)
    assert (rest, tags) == ("", ())
    assert message.text().startswith(f"{text} was left out: ")
    return message.text().partition(" was left out: ")[2]


def test_the_positional_vector():
    text, (tag,), problems = parse_prompt(f"1girl, {SEED_TAG}, outdoors")
    assert text == "1girl, , outdoors"
    assert problems == ()
    assert (tag.name, tag.te, tag.unet, tag.dyn) == ("rimochan", 1, 1, None)
    assert [tag.blocks.of(block) for block in ("IN05", "IN07", "IN08", "M00")] == [1, 0.8, 0.2, 1]
    assert tag.blocks.of("IN00") == 0
    assert format_tag(tag) == SEED_TAG


@pytest.mark.parametrize(
    ("text", "te", "unet", "dyn"),
    [
        ("<lora:a>", 1, 1, None),
        ("<lora:a:0.5>", 0.5, 0.5, None),
        ("<lora:a:0.5:0.7>", 0.5, 0.7, None),
        ("<lora:a:0.5:0.7:16>", 0.5, 0.7, 16),
        ("<lora:a:te=0.5>", 0.5, 0.5, None),
        ("<lora:a:unet=0.5>", 1, 0.5, None),
        ("<lora:a:0.5:te=0.7>", 0.7, 0.7, None),
        ("<lora:a:0.5:0.6:te=0.7:dyn=4>", 0.7, 0.6, 4),
        ("<lora:a: .5 : -1>", 0.5, -1, None),
        ("<lora:a:1:1:8:9:10>", 1, 1, 8),
        ("<lora:te=0.2:a:0.5>", 0.2, 0.2, None),
    ],
)
def test_strengths_are_read_as_the_webui_reads_them(text, te, unet, dyn):
    tag = parse_one(text)
    assert (tag.name, tag.te, tag.unet, tag.dyn, tag.blocks) == ("a", te, unet, dyn, None)


@pytest.mark.parametrize(
    "text",
    [
        "<lora:a:0.5:0.7:IN07@0.5>",
        "<lora:a:0.5:0.7:lbw=IN07@0.5>",
        "<lyco:a:0.5:0.7:lbw=IN07@0.5>",
        "<lora:a:lbw=IN07@0.5:te=0.5:unet=0.7>",
        "<lora:a:0.5:IN07@0.5:unet=0.7>",
        "<lora:a:IN07@0.5:te=0.5:unet=0.7>",
        "<lora:a:0.5:0.7:w=IN07@0.5>",
    ],
)
def test_block_values_may_stand_in_several_places(text):
    tag = parse_one(text)
    assert (tag.te, tag.unet) == (0.5, 0.7)
    assert tag.blocks == parse_blocks("IN07@0.5")
    assert tag.kind == text[1:5]


def test_inherited_values():
    presets = Presets(blocks={"ROUT": ",".join(["X"] * 17)})
    for text in ("<lora:a:0.5:ROUT:0.7>", "<lora:a:0.5:lbw=ROUT:x=0.7>", "<lora:a:.5:ROUT:x=0.7>"):
        tag = parse_one(text, presets)
        assert tag.blocks.of("M00") == 0.7
        assert tag.unet == 0.5
        assert parse_one(format_tag(tag), presets) == tag


def test_steps_and_elements():
    tag = parse_one("<lora:a:1:lbwe=ATTNDEEPON:step=5-10>")
    assert tag.blocks == BlockWeights(rules=parse_elements("ATTNDEEPON"), start=5, stop=10)
    assert parse_one("<lora:a:1:start=5:stop=10>").blocks == BlockWeights(start=5, stop=10)
    assert parse_one("<lora:a:1:MIDD:stop=10>").blocks == replace(parse_blocks("MIDD"), stop=10)
    assert format_tag(tag) == "<lora:a:1:lbwe=ATTNDEEPON:step=5-10>"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("<lora::1>", "names no file"),
        ("<lora:te=1>", "names no file"),
        ("<lora:a:nan>", 'no preset "nan"'),
        ("<lora:a:te=inf>", '"inf" is not a number'),
        ("<lora:a:te=>", '"" is not a number'),
        ("<lora:a:1:1:0.5>", "dyn has to be a whole number"),
        ("<lora:a:1:1,1,1>", "3 block values fit no layout"),
        ("<lora:a:0,8>", '"0,8" is not a number: write 0.8'),
        ("<lora:a:1:lbw=MIDD:lbwe:ATTNDEEPON>", "write lbwe=ATTNDEEPON, with = for the colon"),
        ("<lora:a:1:IN04-OUT05:ATTNON>", "one part, with commas between, and elements as lbwe="),
        ("<lora:a:1:lbw=IN02>", '"IN02" names blocks without a value: write IN02@0.5'),
        ("<lora:a:1:NOT OUT>", "write NOT OUT@0.5 for theirs, or OUT@0"),
        ("<lora:a:1:MIDDD>", 'Did you mean "MIDD"?'),
        ("<lora:a:0@0,1@x>", "There is no block"),
        ("<lora:a:te=0@0,1@x>", "no strength over the steps: write 0@0,1@1"),
        ("<lora:a" + ":" * 101 + ">", "more than 100"),
        ("<Lora:a:1>", "write <lora: in small letters"),
        ("<lora:a:1:lbw=>", "block values are empty"),
        ("<lora:a:1:MIDD:lbw=ALL>", "block values twice"),
        ("<lora:a:1:MIDD:ALL>", '"ALL" is none'),
        ("<lora:a:1:MIDD:1:ALL>", "nothing can follow"),
        ("<lora:a:step=5>", "step has to be a range"),
        ("<lora:a:step=5->", "stop has to be a whole number"),
        ("<lora:a:start=x>", "start has to be a whole number"),
        ("<lora:a:stop=-1>", "stop has to be a whole number"),
        ("<lora:a:lbwe=NOPE>", "no element preset"),
    ],
)
def test_a_wrong_tag_is_left_out_and_said(text, sentence):
    assert sentence in problem_of(text)


def test_a_wrong_tag_costs_no_other():
    text, tags, problems = parse_prompt("<lora:bad:1:1,1> x <lora:good:0.5> y <hypernet:h:1>")
    assert text == " x  y "
    assert [tag.name for tag in tags] == ["good"]
    assert len(problems) == 1


def test_options_of_other_extensions_are_kept():
    tag = parse_one("<lora:a:1:hires=0.5>")
    assert tag.other == ("hires=0.5",)
    assert format_tag(tag) == "<lora:a:1:hires=0.5>"


def test_a_misspelt_option_is_said():
    _, (tag,), (problem,) = parse_prompt("<lora:a:1:lwb=MIDD>")
    assert tag.blocks is None
    assert problem.text() == 'a: the option "lwb=MIDD" was ignored; did you mean "lbw="?'


def test_editing_leaves_other_text_alone():
    prompt = "a, <lora:a: 1.0 >, <lora:bad:1,1>, <hypernet:h:1>, <lora:b:1>, <lora:c:1>"

    def edit(tag):
        if tag.name == "b":
            return replace(tag, blocks=parse_blocks("IN07@0.5"))
        return None if tag.name == "c" else tag

    assert edit_tags(prompt, edit) == (
        "a, <lora:a: 1.0 >, <lora:bad:1,1>, <hypernet:h:1>, <lora:b:1:IN07@0.5>, "
    )


def test_a_preset_named_like_a_number_is_written_by_name():
    presets = Presets(blocks={"0.5": "BASE-OUT11@0.5"})
    tag = parse_one("<lora:a:1:lbw=0.5>", presets)
    assert format_tag(tag) == "<lora:a:1:lbw=0.5>"
    assert parse_one(format_tag(tag), presets) == tag


numbers = st.floats(-10, 10).map(lambda number: number + 0.0)
tags = st.builds(
    LoraTag,
    name=st.text("ab-_ .()1", min_size=1),
    te=numbers,
    unet=numbers,
    dyn=st.none() | st.integers(0, 128),
    blocks=st.none()
    | st.builds(BlockWeights, start=st.integers(0, 9), stop=st.none() | st.integers(0, 99))
    | st.builds(
        lambda text, stop: replace(parse_blocks(text), stop=stop),
        st.sampled_from(["MIDD", "IN07@R,M00@U", "NOT BASE@0"]),
        st.none() | st.just(4),
    ),
    kind=st.sampled_from(["lora", "lyco"]),
    other=st.sampled_from([(), ("hires=1",)]),
)


@given(tags)
def test_formatting_and_parsing_gives_the_tag_back(tag):
    assert parse_one(format_tag(tag)) == tag


@given(st.text() | st.text("<>lorayc:=,@.-0123456789RUXINOUT NOT\n"))
def test_no_text_makes_parsing_raise(text):
    _, tags, _ = parse_prompt(text)
    for tag in tags:
        assert parse_prompt(format_tag(tag))[1] == (tag,)


pieces = st.sampled_from(
    ["a", "b:", "1", "0.5", "-2", ":", "MIDD", "IN07@0.5", "x=0.7", "te=0.3", "unet=", "dyn=3",
     "lbw=ALL", "lbwe=ATTNDEEPON", "start=3", "stop=", "step=1-9", "lwb=1", "R", ",", "1,1", "="]
)  # fmt: skip


@given(st.lists(pieces | st.just(":"), max_size=12).map("".join))
def test_texts_much_like_tags(body):
    text = f"x <lora:{body}> y"
    _, tags, problems = parse_prompt(text)
    assert len(tags) + len(problems) >= (1 if body else 0)
    for tag in tags:
        assert parse_prompt(format_tag(tag))[1] == (tag,)
        assert format_tag(parse_prompt(format_tag(tag))[1][0]) == format_tag(tag)
    assert edit_tags(text, lambda tag: tag) == text


def test_the_grammar_is_light_to_import():
    modules = "lib_rimo.weights.axes, lib_rimo.weights.tags, lib_rimo.lora.facts"
    code = f"import sys, {modules}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"torch", "numpy", "gradio", "safetensors"} & set(loaded.stdout.split())


def test_other_kinds_are_taken_out_as_the_webui_does_and_can_be_asked_for():
    prompt = "a <hypernet:h:1> b <lora:x:1> <:y> <> < z> <foo:>"
    text, tags, problems = parse_prompt(prompt)
    assert (text, [tag.name for tag in tags], problems) == ("a  b  <:y> <> < z> <foo:>", ["x"], ())
    assert other_kinds(prompt) == ("<hypernet:h:1>",)


@given(st.text("<lora:x1>= ", max_size=40))
def test_tags_are_found_where_the_webuis_pattern_finds_them(text):
    pattern = re.compile(r"<(\w+):([^>]+)>")
    found = [(network.kind, network.body, network.start) for network in find_extra_networks(text)]
    assert found == [(match[1], match[2], match.start()) for match in pattern.finditer(text)]


@pytest.mark.parametrize(
    ("text", "te", "unet"),
    [
        ("<lora:a:0@0,1@1>", 0, {0: 0, 1: 0, 11: 0.5, 21: 1}),
        ("<lora:a:0@0,1>", 0, {0: 0, 11: 0.5, 21: 1}),
        ("<lora:a:0~0;1~1>", 0, {0: 0, 11: 0.5, 21: 1}),
        ("<lora:a:1:0@0,1@0.5>", 1, {0: 0, 11: 1, 21: 1}),
        ("<lora:a:te=1@0,0@1:unet=0@5,1@7>", 1, {6: 0, 7: 0.5, 8: 1}),  # counted in steps
        ("<lora:a:unet=0.25@0.5,1@1>", 1, {0: 0.25, 11: 0.25, 21: 1}),
    ],
)
def test_strengths_may_change_over_the_steps(text, te, unet):
    (tag,) = parse_prompt(text)[1]
    assert {step: tag.at(step, 22).unet for step in unet} == unet
    assert {tag.at(step, 22).te for step in unet} == {te}  # read before the first step
    assert tag.has_steps
    assert parse_prompt(format_tag(tag))[1] == (tag,)


def test_block_values_may_change_over_the_steps():
    for text in ("IN07@0~0;1~1,BASE@1~0;0~1", "1~0;0~1,1,1,1,1,0~0;1~1,1,1,1,1,1,1,1,1,1,1,1"):
        (tag,) = parse_prompt(f"<lora:a:1:{text}>")[1]
        assert tag.has_steps
        assert [tag.at(step, 22).blocks.of("IN07") for step in (0, 11, 21)] == [0, 0.5, 1]
        assert [tag.at(step, 22).blocks.of("BASE") for step in (0, 11, 21)] == [1, 1, 1]
        assert tag.at(5, 22).blocks.of("IN01") == 1
        assert parse_prompt(format_tag(tag))[1] == (tag,)
        written = replace(tag, blocks=replace(tag.blocks, source=""))
        assert parse_prompt(format_tag(written))[1] == (tag,)


def test_options_of_others_are_said_to_be_theirs():
    (tag,) = parse_prompt("<lora:a:1:hr=0.5:in=0.2>")[1]
    assert [str(told).split(" is for ")[1] for told in tag.foreign_options()] == [
        "sd-webui-loractl, and was ignored.",
        "SD.Next, and was ignored.",
    ]
    assert tag.misspelt_options() == ()


def test_tags_beyond_all_bounds_are_left_out_with_one_sentence():
    text = "a" + "<lora:a:0.5>" * 1001 + "<lora:b:nonsense>"
    rest, tags, messages = parse_prompt(text)
    assert rest == "a"
    assert len(tags) == 1000
    (message,) = messages
    assert (
        str(message) == "The prompt has 1002 LoRA tags; those after the first 1000 were left out."
    )
    edited = edit_tags(text, lambda tag: replace(tag, te=1.0, unet=1.0))
    assert edited == "a" + "<lora:a:1>" * 1000 + "<lora:a:0.5><lora:b:nonsense>"


def test_a_tag_of_more_values_than_anybody_writes_is_left_out():
    for values in (",".join(["IN01@1"] * 1001), ",".join(["1"] * 1001)):
        _, tags, (message,) = parse_prompt(f"<lora:a:1:{values}>")
        assert not tags
        assert "1001 values" in str(message)
