"""Tags as the panel's scripts read them, beside what Python makes of them."""

import itertools
import json
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lib_rimo.environment import ROOT
from lib_rimo.lora.blocks import BLOCKS
from lib_rimo.weights.block_weights import BlockWeights, RandomWeight
from lib_rimo.weights.presets import Presets
from lib_rimo.weights.ramp import is_ramp, parse_ramp
from lib_rimo.weights.tags import parse_prompt
from tests.attack.tally import Tally

NODE = shutil.which("node")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SCRIPTS = [
    *(ROOT / "javascript" / name for name in ("rimo_block_weights.js", "rimo_lora_tag.js")),
    Path(__file__).with_name("page.js"),
]
BATCH = 20_000  # examples that go over at a time

SEED_VECTOR = "1,1,1,1,1,0.8,0.2,1,1,1,1,1,1,1,1,1,1"
PRESETS = {"ROUT": "X,1,1,1,1,1,1,1,R,R,R,R,R,R,U,X+0.5,X-0.1", "SOFT": "IN07@0.5", "0.5": "M00@2"}
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


def odd_tags(count: int, seed: int = 1) -> Iterator[dict]:
    """Prompts with a tag, and a slider to move, the same ones for the same seed."""
    rng = random.Random(seed)
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


def parse(text: str):
    """The first tag as Python reads it; None where it is left out."""
    _, tags, _ = parse_prompt(text, Presets(PRESETS, {"ATTNDEEPON": "IN05:attn:1"}))
    return tags[0] if tags else None


@contextmanager
def running_scripts():
    """Gives a function that runs one of page.js' functions on many values, wherever there is one.

    RuntimeError where there is neither node nor a Chromium that Playwright can start.
    """
    if NODE is not None:
        yield _run_in_node
        return
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        raise RuntimeError("needs node, or Playwright with Chromium") from None
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        except Error:
            raise RuntimeError("needs node, or Chromium") from None
        page = browser.new_page()
        for script in SCRIPTS:
            page.add_script_tag(path=script)
        yield lambda function, values: page.evaluate(f"values => values.map({function})", values)
        browser.close()


def _run_in_node(function: str, values: list) -> list:
    source = "\n".join(path.read_text(encoding="utf-8") for path in SCRIPTS)
    source += f"""
        const values = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
        process.stdout.write(JSON.stringify(values.map({function})));
    """
    run = subprocess.run(
        [NODE, "--eval", source],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    return json.loads(run.stdout)


def attack(count: int, seed: int, folder: Path) -> Tally:
    """`count` tags read by both, and read again after a slider was moved and all were reset."""
    tally = Tally()
    examples = odd_tags(count, seed)
    with running_scripts() as run:
        while batch := list(itertools.islice(examples, BATCH)):
            for example, seen in zip(batch, run("look", batch), strict=True):
                _compare(example, seen, tally)
    return tally


def _compare(example: dict, seen: dict, tally: Tally) -> None:
    tally.tried["tags"] += 1
    tag = parse(example["text"])
    if tag is None:  # why is said to the user, who mends it
        tally.tried["tags left out"] += 1
        return
    weights = tag.blocks or BlockWeights()
    blocks = _letters(weights)
    edited, reset = parse(seen["edited"] or ""), parse(seen["reset"])
    read = {
        "name": (seen["name"], tag.name),
        "strengths": ([_as_python(number) for number in seen["strengths"]], [tag.te, tag.unet]),
        "blocks": (
            {block: _as_python(value) for block, value in (seen["values"] or {}).items()},
            blocks if seen["hasBlocks"] else {},
        ),
        "no blocks": (seen["hasBlocks"] or weights.values == BlockWeights().values, True),
        "edited": (
            (_blocks_and_strengths(edited), _rules(edited)),
            (
                (blocks | {example["block"]: example["value"]}, tag.te, tag.unet, tag.dyn),
                _rules(tag),
            ),
        ),
        "reset": (
            _blocks_and_strengths(reset),
            (_letters(BlockWeights()), tag.te, tag.unet, tag.dyn),
        ),
    }
    for what, (page, python) in read.items():
        if page != python:
            tally.fail("not identical", f"{what} of {example['text']}: {page} and {python}")


def _blocks_and_strengths(tag) -> tuple:
    if tag is None:
        return ()
    return _letters(tag.blocks or BlockWeights()), tag.te, tag.unet, tag.dyn


def _rules(tag) -> tuple:
    weights = (tag and tag.blocks) or BlockWeights()
    return weights.rules, weights.stop


def _letters(weights: BlockWeights) -> dict:
    """Values as the page has them: random ones by their letter."""
    pairs = zip(BLOCKS, weights.values, strict=True)
    return {
        block: value.letter if isinstance(value, RandomWeight) else value for block, value in pairs
    }


def _as_python(value):
    """A value of the page, with ramps read."""
    return parse_ramp(value) if isinstance(value, str) and is_ramp(value) else value
