"""The panel's JavaScript reads and edits tags as the Python grammar understands them."""

import json
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from lib_rimo.lora.blocks import BLOCKS
from lib_rimo.weights.block_weights import BlockWeights, RandomWeight
from lib_rimo.weights.presets import Presets
from lib_rimo.weights.ramp import is_ramp, parse_ramp
from lib_rimo.weights.tags import parse_prompt

NODE = shutil.which("node")
SEED_VECTOR = "1,1,1,1,1,0.8,0.2,1,1,1,1,1,1,1,1,1,1"
PRESETS = {"ROUT": "X,1,1,1,1,1,1,1,R,R,R,R,R,R,U,X+0.5,X-0.1", "SOFT": "IN07@0.5", "0.5": "M00@2"}

pytestmark = pytest.mark.skipif(NODE is None, reason="needs node to run the panel's scripts")

BLOCK_TEXTS = [
    SEED_VECTOR, "IN07@0.8,IN08@.2", "NOT OUT03-OUT11@0", "out5-in07 mid@-1", "ROUT", "SOFT", "0.5",
    ",".join(["1"] * 12), ",".join(["0.5"] * 20), ",".join(["1e-1", "+2", "-0"] * 8 + ["R", "U"]),
    "BASE@1", "NOT in@0.5", "OUT@R", "1,1", "NOPE", "IN99@1", "NOT@1", "@1", "IN07@", "IN07",
    "X" + ",1" * 16, "IN07@0~0;1~1,M00@0.5", "1,0~0;1~1" + ",1" * 15, "0~0;1~1", "0@0,1",
]  # fmt: skip
ITEMS = [
    *("1", "0.5", "-2", ".7", " 1 ", "te=0.3", "unet=0.4", "dyn=4", "x=0.7", "hires=1", "stop=5"),
    *("lbwe=ATTNDEEPON", "step=1-9", "start=2", "0@0,1@1", "te=0~5;1~20", "unet=1@0.5,0"),
    *BLOCK_TEXTS,
    *(f"lbw={text}" for text in BLOCK_TEXTS),
]


def examples(count):
    rng = random.Random(1)
    for _ in range(count):
        items = [rng.choice(["rimochan", "a b", "_"])]
        items += rng.choices([*ITEMS[:3], "0@0,1@1"], k=rng.choice([0, 1, 1, 2]))
        items += rng.choices(ITEMS, k=rng.choice([0, 1, 1, 1, 2, 3]))
        yield {
            "text": f"1girl, <{rng.choice(['lora', 'lyco'])}:{':'.join(items)}>, outdoors",
            "presets": PRESETS,
            "block": rng.choice(BLOCKS),
            "value": rng.choice([0, 0.35, 1, -0.5, 2]),
        }


def letters(weights):
    """Values as the page has them: random ones by their letter."""
    pairs = zip(BLOCKS, weights.values, strict=True)
    return {
        block: value.letter if isinstance(value, RandomWeight) else value for block, value in pairs
    }


def as_python(value):
    """A value of the page, with ramps read."""
    return parse_ramp(value) if isinstance(value, str) and is_ramp(value) else value


def parse(text):
    _, tags, _ = parse_prompt(text, Presets(PRESETS, {"ATTNDEEPON": "IN05:attn:1"}))
    return tags[0] if tags else None


def test_the_page_and_python_agree(attack_scale):
    asked = list(examples(3000 * attack_scale))
    run = subprocess.run(
        [NODE, str(Path(__file__).with_name("tag_editing.js"))],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    compared = 0
    for example, seen in zip(asked, json.loads(run.stdout), strict=True):
        tag = parse(example["text"])
        if tag is None:
            continue
        assert seen["name"] == tag.name
        assert [as_python(strength) for strength in seen["strengths"]] == [tag.te, tag.unet]
        weights = tag.blocks or BlockWeights()
        if seen["hasBlocks"]:
            values = {block: as_python(value) for block, value in seen["values"].items()}
            assert values == letters(weights), example["text"]
        else:
            assert weights.values == BlockWeights().values
        edited = parse(seen["edited"])
        assert edited is not None, seen["edited"]
        assert letters(edited.blocks) == letters(weights) | {example["block"]: example["value"]}
        assert (edited.te, edited.unet, edited.dyn) == (tag.te, tag.unet, tag.dyn)
        assert (edited.blocks.rules, edited.blocks.stop) == (weights.rules, weights.stop)
        reset = parse(seen["reset"])
        assert (reset.blocks or BlockWeights()).values == BlockWeights().values
        assert (reset.te, reset.unet, reset.dyn) == (tag.te, tag.unet, tag.dyn)
        compared += 1
    assert compared > 900
