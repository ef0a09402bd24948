import copy
import pickle

import pytest

from lib_rimo.hosts.multiplier import BlockMultiplier, TagMultiplier, multiplier_of, strength_at
from lib_rimo.weights.block_weights import BlockWeights
from lib_rimo.weights.grammar import parse_blocks

IN07 = "diffusion_model.input_blocks.7.1.transformer_blocks.0.attn1.to_q.weight"
HALF = parse_blocks("IN07@0.5")


def test_it_is_a_number_that_answers_for_a_layer():
    multiplier = multiplier_of(0.8, HALF, "sd1")
    assert multiplier * 2 == 1.6
    assert strength_at(multiplier, IN07) == 0.4
    assert strength_at(multiplier, IN07.replace("7", "8")) == 0.8
    assert strength_at(0.8, IN07) == 0.8


def test_where_blocks_change_nothing_it_is_a_plain_number():
    assert type(multiplier_of(0.8, None, "sd1")) is float
    assert type(multiplier_of(0.8, parse_blocks("BASE@1"), "sd1")) is float
    assert type(multiplier_of(0.8, BlockWeights(stop=3), "sd1")) is BlockMultiplier


def test_equal_means_equal_blocks():
    one = multiplier_of(1.0, HALF, "sd1")
    assert one == BlockMultiplier(1.0, parse_blocks("IN07@0.50"), "sd1")
    assert hash(one) == hash(BlockMultiplier(1.0, parse_blocks("IN07@0.50"), "sd1"))
    assert one != multiplier_of(1.0, parse_blocks("IN07@0.6"), "sd1")
    assert one != multiplier_of(0.9, HALF, "sd1")
    assert one != 1.0
    assert (one,) != (1.0,)


def test_equal_ones_are_one_object():
    """Which the host compares for thousands of layers a picture, in no time."""
    assert multiplier_of(1.0, HALF, "sd1") is multiplier_of(1.0, parse_blocks("IN07@0.50"), "sd1")


def test_its_text_tells_blocks_apart():
    texts = {
        repr(multiplier_of(1.0, parse_blocks(text), "sd1"))
        for text in ("IN07@0.5", "IN07@0.6", "IN08@0.5", "IN07@0.50")
    }
    assert len(texts) == 3


OF_A_TAG = TagMultiplier(0.8, HALF, "sdxl", "<lora:one:0.8:IN07@0.5:stop=3>")


@pytest.mark.parametrize("multiplier", [multiplier_of(0.8, HALF, "sdxl"), OF_A_TAG])
def test_copies_are_equal_to_it(multiplier):
    for same in (copy.deepcopy(multiplier), pickle.loads(pickle.dumps(multiplier))):
        assert same == multiplier
        assert {same: "found"}[multiplier] == "found"
        assert repr(same) == repr(multiplier)
        assert same.family == "sdxl"


def test_one_tag_s_strength_is_no_other_s():
    other = TagMultiplier(0.8, HALF, "sdxl", "<lora:two:0.8:IN07@0.5:stop=3>")
    of_none = multiplier_of(0.8, HALF, "sdxl")
    assert len({OF_A_TAG, other, of_none}) == 3
    assert of_none != OF_A_TAG
