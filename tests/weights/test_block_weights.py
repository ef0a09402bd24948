from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_rimo.errors import UserError
from lib_rimo.lora.blocks import BLOCKS, LAYOUTS
from lib_rimo.weights.block_weights import RANDOM_WEIGHTS, BlockWeights, ElementRule
from lib_rimo.weights.grammar import parse_block_names, parse_blocks, parse_elements
from lib_rimo.weights.presets import Presets

SEED_VECTOR = "1,1,1,1,1,0.8,0.2,1,1,1,1,1,1,1,1,1,1"


FLUX = ",".join(["0", "0.5", "1", *["0.8"] * 19, *["0.2"] * 38, "1"])


def test_a_vector_of_fluxs_blocks():
    weights = parse_blocks(FLUX)
    assert [weights.of(block) for block in ("BASE", "T5", "D00", "D18", "S00", "S37")] == [
        *(0, 0.5),
        *(0.8, 0.8, 0.2, 0.2),
    ]
    assert weights.text == FLUX
    assert str(parse_blocks(str(weights))) == str(weights)
    assert replace(weights, source="").text == FLUX
    middle = parse_blocks(",".join(["0"] * 19 + ["1"] * 38))
    assert (middle.of("D03"), middle.of("S03"), middle.of("BASE"), middle.of("IN07")) == (
        0,
        1,
        0,
        1,
    )


def test_single_blocks_of_flux():
    weights = parse_blocks("D00-D18@0.5,S37@0")
    assert (weights.of("D18"), weights.of("S36"), weights.of("S37"), weights.of("IN07")) == (
        *(0.5, 1, 0, 1),
    )
    assert weights.text == "D00-D18@0.5,S37@0"
    assert parse_blocks("D@0.5,S37@0") == weights
    assert parse_blocks("NOT D@0").of("D07") == 1
    assert parse_blocks("NOT D@0").of("S07") == 0


def test_other_families_blocks_leave_a_vector_alone():
    weights = parse_blocks(SEED_VECTOR)
    assert weights.of("D07") == 1
    assert weights == parse_blocks(SEED_VECTOR).with_values(["IN07"], 0.8)
    assert parse_blocks("D07@1") == parse_blocks("IN07@1")
    flux = parse_blocks(FLUX).with_values(["S00", "IN07"], 0.0)  # a block that Flux has not
    assert (flux.of("S00"), flux.of("IN07"), flux.layout) == (0, 1, 61)
    said = weights.messages_on(["D00"], "Flux", "x")
    assert str(said[0]).startswith("x: 17 block values are no layout of Flux")
    (message,) = parse_blocks(FLUX).messages_on(["D00"], "sd1", "x")
    assert message.text().startswith("x: 61 block values")


def changed(weights):
    """The blocks that aren't 1."""
    return {block: weights.of(block) for block in BLOCKS if weights.of(block) != 1}


def test_vector():
    weights = parse_blocks(SEED_VECTOR)
    assert [weights.of(block) for block in LAYOUTS[17]] == [1, 1, 1, 1, 1, 0.8, 0.2] + [1] * 10
    assert {block for block in BLOCKS if weights.of(block) == 0} == set(BLOCKS) - set(LAYOUTS[17])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_vector_names_the_blocks_of_its_layout(layout):
    weights = parse_blocks(",".join(str(index + 1) for index in range(layout)))
    assert [weights.of(block) for block in LAYOUTS[layout]] == [*range(1, layout + 1)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("IN07@0.8,IN08@0.2", {"IN07": 0.8, "IN08": 0.2}),
        ("IN04-IN06@.5", dict.fromkeys(["IN04", "IN05", "IN06"], 0.5)),
        ("IN06-IN04 m00@-1", dict.fromkeys(["IN04", "IN05", "IN06", "M00"], -1)),
        ("IN11-OUT0@0", dict.fromkeys(["IN11", "M00", "OUT00"], 0)),
        ("NOT OUT03-OUT11@0", dict.fromkeys(BLOCKS[:17], 0)),
        ("BASE-OUT11@0.5, MID@1", dict.fromkeys(set(BLOCKS) - {"M00"}, 0.5)),
        ("IN04@0.5,IN04@0.7", {"IN04": 0.7}),
        ("out M00@0", dict.fromkeys(BLOCKS[13:], 0)),
        ("NOT IN OUT@0", dict.fromkeys(["BASE", "M00"], 0)),
        ("BASE@1", {}),
    ],
)
def test_sparse_form(text, expected):
    assert changed(parse_blocks(text)) == expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "empty"),
        ("1,1,1", "3 block values fit no layout"),
        ("midd", 'one named "MIDD"'),
        ("NOPE", 'no preset "NOPE"'),
        ("0.5", 'no preset "0.5"'),
        ("IN12@0.5", 'no block "IN12"'),
        ("IN04-@0.5", 'no block ""'),
        ("@0.5", "names no block"),
        ("NOT@0.5", "NOT has to be followed"),
        ("IN07@0.5,IN08", '"IN08" has no value'),
        ("IN07@x", '"x" is not a number'),
        ("IN07@nan", '"nan" is not a number'),
        (",".join(["1"] * 16 + ["1e999"]), "not a number"),
        (",".join(["1"] * 16 + ["X*2"]), "not a number"),
        (",".join(["1"] * 16 + [""]), '"" is not a number'),
        (",".join(["1"] * 16 + ["١"]), "not a number"),
    ],
)
def test_what_cannot_be_read_is_said(text, sentence):
    with pytest.raises(UserError, match=sentence):
        parse_blocks(text)


def test_presets_come_before_anything_else():
    presets = Presets(blocks={"IN02": "IN02@0.5", "1,1": SEED_VECTOR})
    assert changed(parse_blocks("IN02", presets)) == {"IN02": 0.5}
    assert parse_blocks("1,1", presets) == parse_blocks(SEED_VECTOR)
    assert parse_blocks("IN02", presets).text == "IN02"
    with pytest.raises(UserError, match="no preset"):
        parse_blocks("A", Presets(blocks={"A": "B", "B": "A"}))


def test_inherited_values():
    text = ",".join(["X", "X+0.1", "X-0.1"] + ["1"] * 14)
    values = parse_blocks(text, inherited=0.7)
    assert [values.of(block) for block in LAYOUTS[17][:4]] == [0.7, 0.8, 0.6, 1]
    assert parse_blocks(text).of("BASE") == 1


def test_random_values_come_from_the_seed():
    weights = parse_blocks(",".join(["1"] * 8 + ["R"] * 4 + ["U"] * 5))
    assert weights.is_random
    with pytest.raises(ValueError, match="is random"):
        weights.of("OUT03")
    drawn = weights.fixed(1, "rimochan")
    assert drawn == weights.fixed(1, "rimochan")
    assert drawn != weights.fixed(2, "rimochan")
    assert drawn != weights.fixed(1, "other")
    assert all(0 <= drawn.of(block) <= 1 for block in LAYOUTS[17][8:12])
    assert all(-0.5 <= drawn.of(block) <= 1.5 for block in LAYOUTS[17][12:])
    assert len({drawn.of(block) for block in LAYOUTS[17][8:]}) > 5
    assert parse_blocks(drawn.text) == drawn


def test_draws_stay_the_same_over_versions():
    drawn = parse_blocks("IN07@R,IN08@U").fixed(1, "rimochan")
    assert drawn.text == "IN07@0.007,IN08@1.048"


def test_the_same_meaning_is_the_same_value():
    vector, sparse = parse_blocks(SEED_VECTOR.replace("1,", "1.0,")), parse_blocks(SEED_VECTOR)
    assert vector == sparse
    assert hash(vector) == hash(sparse)
    assert str(vector) == str(sparse)
    assert parse_blocks("ALL") == parse_blocks(",".join(["1"] * 17))
    assert parse_blocks("BASE@-0") == parse_blocks("BASE@0")
    assert str(parse_blocks("BASE@-0")) == str(parse_blocks("BASE@0")) == "BASE@0"
    assert parse_blocks("IN04@0.5") != parse_blocks("IN04@0.6")
    assert BlockWeights() != BlockWeights(stop=3)


def test_short_text():
    assert str(parse_blocks("NONE")) == "BASE-OUT11@0"
    assert str(parse_blocks(",".join(["1"] * 26))) == "BASE@1"
    assert str(parse_blocks(SEED_VECTOR)) == SEED_VECTOR
    weights = replace(parse_blocks("IN07@0.5"), rules=parse_elements("ATTNDEEPOFF"), start=2)
    assert str(weights) == "IN07@0.5:lbwe=IN05-OUT05/attn@0:start=2"


def test_changing_blocks_keeps_the_layout():
    weights = parse_blocks("ALL").with_values(["IN07"], 0.5)
    assert weights.text == "1,1,1,1,1,0.5,1,1,1,1,1,1,1,1,1,1,1"
    assert weights.with_values(["IN00"], 1).of("IN00") == 1
    assert parse_blocks(weights.with_values(["IN00"], 1).text).of("IN00") == 1
    sdxl = parse_blocks(",".join(["1"] * 12)).with_values(["IN04", "OUT11"], 0.5)
    assert sdxl.text == "1,0.5" + ",1" * 10
    assert sdxl.with_values(["IN00"], 0.5).text.count(",") == 19


def test_steps():
    assert [step for step in range(6) if BlockWeights(start=2, stop=4).active_at(step)] == [2, 3]
    assert all(BlockWeights().active_at(step) for step in range(6))
    assert BlockWeights(stop=10).has_steps
    assert not BlockWeights().has_steps


def test_element_rules():
    weights = replace(
        parse_blocks("IN04-OUT11@0.5"),
        rules=parse_elements("IN04-IN08/attn@0,/NOT attn proj@0.9,BASE/@0.3,IN04/attn1@0.2"),
    )
    assert weights.of("IN05", "transformer_blocks_0_attn2_to_q") == 0
    assert weights.of("IN04", "transformer_blocks_0_attn2_to_q") == 0
    assert weights.of("IN04", "transformer_blocks_0_attn1_to_q") == 0.2
    assert weights.of("OUT11", "transformer_blocks_0_attn1_to_q") == 0.5
    assert weights.of("IN05", "transformer_blocks_0_ff_net_2") == 0.9
    assert weights.of("IN05", "proj_in") == 0.5
    assert weights.of("BASE", "encoder_layers_0_self_attn_q_proj") == 0.3
    assert weights.of("BASE") == 0.3
    assert weights.of("IN05") == 0.5


def test_rules_of_preset_files():
    (one, two) = parse_elements(
        "A", Presets(elements={"A": "IN05-OUT05:attn ff:1,\nNOT BASE::0\n"})
    )
    assert one == ElementRule(frozenset(BLOCKS[6:20]), ("attn", "ff"), False, 1)
    assert two == ElementRule(frozenset(BLOCKS[1:]), (), False, 0)


@pytest.mark.parametrize("text", ["", "NOPE", "attn@1", "IN05/attn@x", "IN99/attn@1"])
def test_wrong_rules_are_refused(text):
    with pytest.raises(UserError):
        parse_elements(text)


def test_a_layer_in_no_block_keeps_its_strength():
    assert parse_blocks("NONE").of(None) == 1


class TestProblemsOnFiles:
    plain, whole = LAYOUTS[17], LAYOUTS[26]

    def test_what_fits_is_no_problem(self):
        assert parse_blocks("ALL").messages_on(self.plain, "sd1", "rimo") == ()
        ones = parse_blocks(",".join(["1"] * 26))
        assert ones.messages_on(self.whole, "sd1", "rimo") == ()
        assert ones.messages_on(self.plain, "sd1", "rimo") == ()
        assert parse_blocks("IN07@0.5").messages_on(LAYOUTS[12], "sdxl", "rimo") == ()

    def test_17_values_on_a_lycoris_file(self):
        (message,) = parse_blocks("ALL").messages_on(self.whole, "sd1", "rimo")
        assert message.text().startswith("rimo: IN00, IN03, IN06,")
        assert "counted as 0 among 17 block values; write 26 values" in message.text()

    def test_26_values_on_a_plain_lora(self):
        weights = parse_blocks(",".join(["1"] * 20 + ["0.5"] * 6))
        assert weights.messages_on(self.plain, "sd1", "rimo") == ()
        weights = parse_blocks(",".join(["1", "0.5"] + ["1"] * 24))
        (message,) = weights.messages_on(self.plain, "sd1", "rimo")
        assert "change nothing; 17 are enough" in message.text()

    def test_an_sd1_vector_on_an_sdxl_file(self):
        (message,) = parse_blocks("ALL").messages_on(LAYOUTS[12], "sdxl", "rimo")
        assert message.text() == (
            "rimo: 17 block values are no layout of SDXL; blocks of the same name took theirs, "
            "OUT00, OUT01, OUT02 got no value and counted as 0: write 12 values to set every "
            "block of this file."
        )

    def test_blocks_that_the_file_has_no_layers_in(self):
        (message,) = parse_blocks("IN00@0").messages_on(self.plain, "sd1", "rimo")
        assert message.text() == (
            "rimo: the file has no layers in IN00, so these block values change nothing."
        )

    def test_a_file_for_another_model(self):
        (message,) = parse_blocks("ALL").messages_on((), "sdxl", "rimo")
        assert message.text() == "rimo: no layer of the file fits the model, so it changes nothing."


values = st.floats(-5, 5).map(lambda value: round(value, 3) + 0.0) | st.sampled_from(
    [0.0, 1.0, *RANDOM_WEIGHTS.values()]
)
rules = st.builds(
    ElementRule,
    st.sets(st.sampled_from(BLOCKS), min_size=1).map(frozenset),
    st.lists(st.sampled_from(["attn1", "ff", "proj"]), min_size=1, max_size=2).map(tuple),
    st.booleans(),
    st.floats(-2, 2).map(lambda value: value + 0.0),
)
weights = st.builds(
    BlockWeights,
    st.lists(values, min_size=26, max_size=26).map(tuple)
    | st.builds(
        lambda run, value: tuple([1.0] * run + [value] * (26 - run)), st.integers(0, 26), values
    ),
    rules=st.lists(rules, max_size=2).map(tuple),
)


@given(weights)
def test_text_gives_the_same_weights_back(weights):
    plain = replace(weights, rules=())
    assert parse_blocks(plain.text) == plain
    assert parse_blocks(str(plain)) == plain
    if weights.rules:
        assert parse_elements(",".join(map(str, weights.rules))) == weights.rules


@given(st.sets(st.sampled_from(BLOCKS), min_size=1))
def test_block_names_give_the_same_blocks_back(blocks):
    ordered = tuple(block for block in BLOCKS if block in blocks)
    assert parse_block_names(" ".join(blocks)) == ordered


@given(st.text() | st.text("0123456789.,-@ INOUTMRXBASE/\n"))
def test_no_text_raises_anything_but_a_user_error(text):
    for parse in (parse_blocks, parse_elements, parse_block_names):
        with suppress(UserError):
            parse(text)
