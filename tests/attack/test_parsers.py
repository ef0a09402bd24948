"""Every parser reads twice the text in twice the work, counted in steps and not in seconds.

Steps are lines of Python. What a pattern does inside cannot be counted: there only a reading that
takes long is looked at, and a quarter of the text has to take about a quarter of the time. A
straight line takes 4 times as long, a square 16 times.
"""

import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lib_rimo.errors import UserError
from lib_rimo.inference.grid import parse_axis
from lib_rimo.inference.infotext import parse_infotext
from lib_rimo.inference.prompt import parse_emphasis, prompt_schedule, split_composition
from lib_rimo.lora.naming import read_tensor_name
from lib_rimo.weights.axes import parse_choices, parse_numbers, parse_weights
from lib_rimo.weights.grammar import parse_block_names, parse_blocks, parse_elements
from lib_rimo.weights.presets import parse_block_presets, parse_element_presets
from lib_rimo.weights.record import restore
from lib_rimo.weights.tags import edit_tags, other_kinds, parse_prompt

PARSERS = {
    "infotext": parse_infotext,
    "emphasis": parse_emphasis,
    "editing": lambda text: prompt_schedule(text, 3),
    "composition": split_composition,
    "tags": parse_prompt,
    "edited tags": lambda text: edit_tags(text, lambda tag: tag),
    "other kinds": other_kinds,
    "record": lambda text: restore(text, text),
    "blocks": parse_blocks,
    "block names": parse_block_names,
    "elements": parse_elements,
    "numbers": parse_numbers,
    "weights axis": parse_weights,
    "block axis": parse_choices,
    "replacements": lambda text: parse_axis("Prompt S/R", text),
    "presets": parse_block_presets,
    "element presets": parse_element_presets,
    "tensor name": read_tensor_name,
}
# Begun once, repeated, ended once.
TEXTS = {
    "digits in a tag": ("<lora:a:", "1", ":x>"),
    "digits in emphasis": ("(a:", "1", "x)"),
    "digits in editing": ("[a:b:", "1", "]"),
    "spaces": ("1girl", " ", "x"),
    "tabs and lines": ("a", "\t\n ", "b: c"),
    "open [": ("", "[", ""),
    "open (a": ("", "(a", ""),
    "open [a": ("", "[a", ""),
    "closed brackets": ("", "(a)[b:c:0.5]", ""),
    "closing only": ("", ")]", ""),
    "open tags": ("", "<lora:", ""),
    "tags": ("", "<lora:a:1>", ""),
    "wrong tags": ("", "<lora:a:1,1,1>", ""),
    "one tag of many parts": ("<lora:a", ":b=c", ">"),
    "colons": ("Steps: 1, Sampler: Euler, CFG scale: 7", ":", ""),
    "prose": ("", "the quick brown fox ", ""),
    "prose in settings": ("Steps: 1, Sampler: Euler, CFG scale: 7, ", "the quick brown fox ", ""),
    "fields": ("Steps: 1, Sampler: Euler, CFG scale: 7", ", a b: c", ""),
    "open quotes": ("Steps: 1, Sampler: Euler, CFG scale: 7", ', a: "b\\', ""),
    "negatives": ("", "Negative prompt:\n", ""),
    "backslashes": ("", "\\", ""),
    "BREAK": ("", " BREAK ", ""),
    "AND": ("a", " AND b :1.2", ""),
    "commas": ("", ",", ""),
    "sparse": ("IN01@1", ",IN07@0.5", ""),
    "ramp": ("<lora:a:0@0", ",1@1", ">"),
    "NOT": ("NOT", " OUT", "@1"),
    "ranges": ("", "1-2 [", ""),
    "presets": ("", "A:1,1,1,1,1,1,1,1,1,1,1,1\n", ""),
    "empty lines": ("A:", "\n \n", ""),
    "dots": ("unet", ".a", ".lora_A.weight"),
    "quotes": ("", '"', ""),
}
LONG, SLOW = 30_000, 0.4  # characters, seconds


def made(text, length):
    begin, repeated, end = TEXTS[text]
    return begin + repeated * ((length - len(begin) - len(end)) // len(repeated)) + end


def read(parser, text):
    """Read a text; a UserError is an answer too, and a short one."""
    try:
        parser(text)
    except UserError as error:
        assert len(str(error)) < 2000  # noqa: PT017


def steps(parser, text):
    """How many lines of Python are run in reading a text."""
    count = 0

    def line(frame, event, argument):
        nonlocal count
        count += event == "line"
        return line

    before = sys.gettrace()
    sys.settrace(line)
    try:
        read(parser, text)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("parser", PARSERS)
def test_twice_the_text_is_twice_the_steps(parser):
    for text in TEXTS:
        few = steps(PARSERS[parser], made(text, 300))
        many = steps(PARSERS[parser], made(text, 600))
        assert many < 2.5 * few + 300, text


def seconds(parser, text):
    begin = time.process_time()
    read(parser, text)
    return time.process_time() - begin


@pytest.mark.parametrize("parser", PARSERS)
def test_patterns_read_long_texts_in_one_go(parser, attack_scale):
    length = LONG * attack_scale
    for text in TEXTS:
        taken = seconds(PARSERS[parser], made(text, length))
        if taken > SLOW * attack_scale:
            assert taken < 10 * seconds(PARSERS[parser], made(text, length // 4)), text


ALPHABET = ["<lora:", "<", ">", ":", "=", "1", "0.5", ",", "@", "~", ";", "[", "]", "(", ")", "|",
            " ", "\n", "\\", "BREAK", "AND", "IN07", "-", "OUT11", "NOT", "X", "R", "lbw=", "x=",
            "te=", "Steps: 1", "Negative prompt:", '"', "\x1c", "\x00", "é", "莉", "9" * 400, "/",
            "BASE", "MIDD", "lbwe=", "start=", "Size: 64x64", "Seed: 1", "CFG scale: nan",
            "\ud800", "1e999", "Sampler: Euler", "Clip skip: 99", "🙂"]  # fmt: skip


def test_no_parser_stumbles(attack_scale):
    rng = random.Random(0)
    for _ in range(1000 * attack_scale):
        text = "".join(rng.choices(ALPHABET, k=rng.randint(0, 25)))
        for parser in PARSERS.values():
            read(parser, text)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node to run the panel's scripts")
def test_the_page_reads_long_texts_in_one_go(attack_scale):
    length = LONG * attack_scale
    texts = {text: [made(text, length // 4), made(text, length)] for text in TEXTS}
    run = subprocess.run(
        ["node", str(Path(__file__).with_name("page_parsers.js"))],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    for text, (quarter, whole) in json.loads(run.stdout).items():
        assert whole < SLOW * attack_scale or whole < 10 * quarter, text
