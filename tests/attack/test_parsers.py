"""Every parser reads twice the text in twice the work, counted in steps and not in seconds.

Steps are lines of Python. What a pattern does inside cannot be counted: there only a reading that
takes long is looked at, and a quarter of the text has to take about a quarter of the time. A
straight line takes 4 times as long, a square 16 times.
"""

import sys

import pytest

from tests.attack.page import running_scripts
from tests.attack.texts import PARSERS, TEXTS, made, read, seconds

LENGTH, SLOW = 30_000, 0.4  # characters, seconds


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


@pytest.mark.parametrize("parser", PARSERS)
def test_patterns_read_long_texts_in_one_go(parser, attack_scale):
    length = LENGTH * attack_scale
    for text in TEXTS:
        taken = seconds(PARSERS[parser], made(text, length))
        if taken > SLOW * attack_scale:
            assert taken < 10 * seconds(PARSERS[parser], made(text, length // 4)), text


def test_the_page_reads_long_texts_in_one_go(attack_scale):
    length = LENGTH * attack_scale
    texts = [made(text, size) for text in TEXTS for size in (length // 4, length)]
    try:
        with running_scripts() as run:
            taken = run("seconds", texts)
    except RuntimeError as reason:
        pytest.skip(str(reason))
    for text, quarter, whole in zip(TEXTS, taken[::2], taken[1::2], strict=True):
        assert whole < SLOW * attack_scale or whole < 10 * quarter, text
