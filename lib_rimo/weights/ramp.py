"""Numbers as they stand in a tag: plain ones, and `Ramp`, one that changes over the steps.

A ramp is written as sd-webui-loractl has it: `0@0,1@1`, value by place, with straight lines
between. Where commas and `@` mean something else already, among block values, it is `0~0;1~1`.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from dataclasses import dataclass

from lib_rimo.errors import UserError
from lib_rimo.text import printable

SPACES = " \t\r\n"  # what may stand around a number or a name, in Python and in the page alike
MOST_POINTS = 100


@dataclass(frozen=True)
class Ramp:
    """A number that goes in straight lines from value to value: (place, value), by place.

    Places up to 1 are parts of the sampling, from its first step to its last; when the last place
    is beyond 1, all of them count steps.
    """

    points: tuple[tuple[float, float], ...]

    def at(self, steps_done: int, steps: int) -> float:
        """The value on the step after `steps_done` finished ones, of `steps` in all.

        As on AUTOMATIC1111's WebUI the first and the second step count as none done.
        """
        counted = float(max(0, steps_done - 1))
        if self.points[-1][0] <= 1:
            counted = counted / (steps - 2) if steps > 2 else float(steps_done > 0)
        places = [place for place, _ in self.points]
        following = bisect_right(places, counted)
        if following == 0:
            return self.points[0][1]
        if following == len(places):
            return self.points[-1][1]
        (low, before), (high, after) = self.points[following - 1 : following + 1]
        return before + (after - before) * (counted - low) / (high - low)

    def __str__(self) -> str:
        """The ramp as it can stand among block values, `0~0;1~1`."""
        return self.text("~", ";")

    def text(self, at: str = "@", between: str = ",") -> str:
        """The ramp in words of one's choice: `0@0,1@1`."""
        points = (f"{format_number(v)}{at}{format_number(place)}" for place, v in self.points)
        return between.join(points)


Number = float | Ramp


def value_at(number: Number, steps_done: int, steps: int) -> float:
    """What a number is on the step after `steps_done` finished ones, of `steps` in all."""
    return number.at(steps_done, steps) if isinstance(number, Ramp) else number


# Every part ends where the next one begins: 10,000 digits are read once.
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_AT = re.compile("[@~]")


def is_number(text: str) -> bool:
    """Whether a text is a finite decimal number."""
    text = text.strip(SPACES)
    return _NUMBER.fullmatch(text) is not None and math.isfinite(float(text))


def as_written(text: str) -> str:
    """A value as a sentence about it repeats it, without the spaces around it."""
    return printable(text.strip(SPACES))


def parse_number(text: str) -> float:
    """Read a finite decimal number. Raises UserError."""
    if not is_number(text):
        said = as_written(text)
        if re.fullmatch(r"[+-]?\d{1,9},\d{1,9}", said, re.ASCII):
            raise UserError(
                '"{text}" is not a number: write {number}.',
                text=said,
                number=said.replace(",", "."),
            )
        raise UserError('"{text}" is not a number.', text=said)
    return float(text.strip(SPACES)) + 0.0  # -0 becomes 0


def is_ramp(text: str) -> bool:
    """Whether a text is a ramp, and not block values."""
    if not _AT.search(text) or ("," in text and ";" in text):
        return False
    *items, last = re.split("[,;]", text)
    if len(items) >= MOST_POINTS:
        return False
    # The last place may be left out, and is the end then.
    return all(_is_point(item) for item in items) and (_is_point(last) or is_number(last))


def _is_point(text: str) -> bool:
    parts = _AT.split(text)
    return len(parts) == 2 and all(is_number(part) for part in parts)


def parse_ramp(text: str) -> Ramp:
    """Read a ramp. Raises UserError."""
    if not is_ramp(text):
        said = as_written(text)
        raise UserError(
            '"{text}" is no strength over the steps: write 0@0,1@1, value@place.', text=said
        )
    points = []
    for item in re.split("[,;]", text):
        value, *place = _AT.split(item)
        points.append((parse_number(place[0]) if place else 1.0, parse_number(value)))
    points.sort(key=lambda point: point[0])
    return Ramp(tuple(points))


def is_strength(text: str) -> bool:
    """Whether a text is a number or a ramp."""
    return is_number(text) or is_ramp(text)


def parse_strength(text: str) -> Number:
    """Read a number or a ramp. Raises UserError."""
    return parse_ramp(text) if _AT.search(text) else parse_number(text)


def format_number(number: float) -> str:
    """The shortest text of a number: `1`, `0.8`."""
    return repr(float(number) + 0.0).removesuffix(".0")


def format_strength(strength: Number) -> str:
    """A number or a ramp as it stands in a tag."""
    return strength.text() if isinstance(strength, Ramp) else format_number(strength)
