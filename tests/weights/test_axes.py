from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_rimo.errors import UserError
from lib_rimo.weights.axes import AXES, apply_values, check_values, parse_numbers
from lib_rimo.weights.grammar import parse_blocks
from lib_rimo.weights.presets import DEFAULT_PRESETS

VECTOR = "1,1,1,1,1,0.8,0.2,1,1,1,1,1,1,1,1,1,1"


def parse(axis, text):
    return AXES[axis].parse(text, DEFAULT_PRESETS)


def labels(axis, text):
    return [value.label for value in parse(axis, text)]


def cells(prompt, *axes):
    """The prompts of the cells in which all the axes stand at the same index."""
    columns = [parse(axis, text) for axis, text in axes]
    return [apply_values(prompt, row) for row in zip(*columns, strict=True)]


@pytest.mark.parametrize("axis", AXES.values(), ids=lambda axis: axis.name)
def test_the_examples_can_be_read(axis):
    assert len(axis.parse(axis.example, DEFAULT_PRESETS)) > 1


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0.5", [0.5]),
        ("0, 0.5 ,1,", [0, 0.5, 1]),
        ("0.1-1.0 [10]", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]),
        ("0.1-1.0 (+0.1)", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]),
        ("0-1(+.25)", [0, 0.25, 0.5, 0.75, 1]),
        ("1-3", [1, 2, 3]),
        ("1-0 (-0.5)", [1, 0.5, 0]),
        ("-1-1 [3]", [-1, 0, 1]),
        ("-1--0.5 [2], 2", [-1, -0.5, 2]),
        ("0-1 [4]", [0, 0.3333, 0.6667, 1]),
        ("0.3-0.9 [1]", [0.3]),
    ],
)
def test_numbers_and_ranges(text, numbers):
    assert parse_numbers(text) == numbers


@pytest.mark.parametrize(
    "text",
    ["", ",", "a", "0-1 [0]", "0-1 [9999]", "0-1 (+0)", "1-0 (+0.1)", "0-1 (0.0001)", "nan", "1 2"],
)
def test_wrong_numbers_are_refused(text):
    with pytest.raises(UserError):
        parse_numbers(text)


def test_strength():
    assert labels("LoRA strength", "0.5-1 [2]") == ["0.5", "1"]
    assert cells("x <lora:a:0.8:0.7:MIDD>", ("LoRA strength", "0, 0.5")) == [
        "x <lora:a:0:MIDD>",
        "x <lora:a:0.5:MIDD>",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (VECTOR, [VECTOR]),
        ("IN07@0.8,IN08@0.2", ["IN07@0.8,IN08@0.2"]),
        ("MIDD, ALL", ["MIDD", "ALL"]),
        ("MIDD", ["MIDD"]),
        (f"{VECTOR}; MIDD", [VECTOR, "MIDD"]),
        (f"{VECTOR}\nIN07@0.8,IN08@0.2\n", [VECTOR, "IN07@0.8,IN08@0.2"]),
        (f'"{VECTOR}", MIDD', [VECTOR, "MIDD"]),
        ("R" + ",R" * 16, ["R" + ",R" * 16]),
    ],
)
def test_block_weights_are_split_between_vectors_only(text, expected):
    values = parse("Block weights", text)
    assert [value.weights for value in values] == [parse_blocks(item) for item in expected]


@pytest.mark.parametrize(
    "text", ["MIDD, IN07@0.5", "1,1,1", "MIDD, NOPE", "", " ; ", f"{VECTOR}, MIDD"]
)
def test_wrong_block_weights_are_refused(text):
    with pytest.raises(UserError):
        parse("Block weights", text)


def test_block_weights_keep_the_rest_of_the_tag():
    prompt = "<lora:a:0.8:ALL:stop=5> <hypernet:h:1>"
    assert cells(prompt, ("Block weights", f"MIDD; {VECTOR}")) == [
        "<lora:a:0.8:MIDD:stop=5> <hypernet:h:1>",
        f"<lora:a:0.8:{VECTOR}:stop=5> <hypernet:h:1>",
    ]


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("MIDD", "MIDD"),
        (VECTOR, "IN07@0.8,IN08@0.2"),
        ("IN07@0.8", "IN07@0.8"),
        (",".join(["1"] * 17), "all 1"),
        (",".join(["0"] * 17), "all 0"),
        (",".join(["0"] * 5 + ["1"] + ["0"] * 11), "only IN07@1"),
    ],
)
def test_labels_stay_short(text, label):
    assert labels("Block weights", text) == [label]


def test_block():
    assert labels("Block", "IN07, IN04-IN08@0.5, NOT OUT03-OUT11, BASE M00") == [
        "IN07",
        "IN04-IN08@0.5",
        "NOT OUT03-OUT11",
        "BASE M00",
    ]
    assert cells("<lora:a:1>", ("Block", "IN07, IN04-IN08@0.5")) == [
        "<lora:a:1:IN07@0>",
        "<lora:a:1:IN04-IN08@0.5>",
    ]
    assert cells("<lora:a:1:ALL>", ("Block", "IN07")) == [
        "<lora:a:1:1,1,1,1,1,0,1,1,1,1,1,1,1,1,1,1,1>"
    ]


@pytest.mark.parametrize("text", ["", "IN12", "NOT", "IN04@", "@0.5", "IN04@x"])
def test_wrong_blocks_are_refused(text):
    with pytest.raises(UserError):
        parse("Block", text)


def test_block_and_block_value_compose_in_either_order():
    blocks, levels = ("Block", "IN07, M00"), ("Block value", "0.25, 0.5")
    expected = ["<lora:a:1:IN07@0.25>", "<lora:a:1:M00@0.5>"]
    assert cells("<lora:a:1>", blocks, levels) == expected
    assert cells("<lora:a:1>", levels, blocks) == expected


def test_block_value_alone_is_about_all_blocks():
    assert cells("<lora:a:1>", ("Block value", "0.25")) == ["<lora:a:1:BASE-OUT11@0.25>"]


def test_a_cells_own_value_comes_before_the_block_value_axis():
    axes = ("Block", "IN07@0.1"), ("Block value", "0.25")
    assert cells("<lora:a:1>", *axes) == ["<lora:a:1:IN07@0.1>"]


def test_file_and_other_axes_compose():
    axes = ("LoRA file", "None, b"), ("LoRA strength", "a: 0.5, 0.6"), ("Block weights", "ALL;MIDD")
    assert cells("x <lora:a:1>", *axes) == ["x ", "x <lora:b:0.6:MIDD>"]
    assert cells("x <lora:a:1>", *reversed(axes)) == ["x ", "x <lora:b:0.6:MIDD>"]


@pytest.mark.parametrize("text", ["a=b", "<x>", ""])
def test_files_that_no_tag_can_name_are_refused(text):
    with pytest.raises(UserError):
        parse("LoRA file", text)


def test_each_axis_names_its_lora():
    prompt = "<lora:a:1> <lora:b:1>"
    axes = ("LoRA strength", "a: 0.5"), ("Block weights", "b : MIDD")
    assert cells(prompt, *axes) == ["<lora:a:0.5> <lora:b:1:MIDD>"]


@pytest.mark.parametrize(
    ("prompt", "text", "sentence"),
    [
        ("no tag", "1", "has no LoRA to vary"),
        ("<lora:a:1,1,1>", "1", "3 block values fit no layout"),
        ("<lora:a:1> <lora:b:1>", "1", "begin the values with the name"),
        ("<lora:a:1> <lora:b:1>", "c: 1", 'no LoRA "c"; it has a, b'),
    ],
)
def test_values_without_a_lora_are_refused(prompt, text, sentence):
    with pytest.raises(UserError, match=sentence):
        check_values(parse("LoRA strength", text), prompt)


def test_unknown_files_are_refused():
    values = parse("LoRA file", "None, a, b")
    check_values(values, "<lora:a:1>")
    check_values(values, "<lora:a:1>", files=["a", "b"])
    with pytest.raises(UserError, match='no LoRA file "b"'):
        check_values(values, "<lora:a:1>", files=["a"])


@given(
    st.sampled_from(sorted(AXES)),
    st.text() | st.text('0123456789.,;-+@ INOUTMRXBASE/\n"[]():'),
)
def test_no_text_raises_anything_but_a_user_error(axis, text):
    with suppress(UserError):
        for value in parse(axis, text):
            assert value.label
            apply_values("<lora:a:1:MIDD>", [value])


@given(st.floats(-5, 5), st.floats(-5, 5), st.integers(2, 50))
def test_ranges_begin_and_end_where_they_say(first, last, count):
    first, last = round(first, 2) + 0.0, round(last, 2) + 0.0
    numbers = parse_numbers(f"{first:.2f}-{last:.2f} [{count}]")
    assert (numbers[0], numbers[-1], len(numbers)) == (first, last, count)
