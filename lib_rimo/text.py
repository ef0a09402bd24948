"""Texts from outside: read as JSON, made fit to be shown in a sentence."""

import json
import re
from typing import Any

_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def shortened(text: str, length: int = 80) -> str:
    """A text cut to a length, with `…` in place of what is left out."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def visible(text: str) -> str:
    r"""A text whose control characters are written out, as `\x1b`.

    A terminal obeys those, so what a file from elsewhere holds must not reach it as it is.
    """
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def printable(text: str, length: int = 80) -> str:
    """A text from elsewhere as a sentence may show it: cut, with control characters written out."""
    return visible(shortened(text, length))


def parse_json(text: str | bytes) -> Any:
    """What a text from outside says in JSON; ValueError where it is none, or nested absurdly."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
