"""How an option is declared, and how a value given for it becomes one of its type."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import field
from typing import Any

from lib_rimo.errors import UserError
from lib_rimo.messages import Message


def option(
    default: Any,
    help_text: str,
    group: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    usual: str = "",
) -> Any:
    """Declare a field: default, one line of help, what it may be, and what is `usual`."""
    metadata = {
        "help": help_text,
        "group": group,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "usual": usual,
    }
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def convert(declared: dataclasses.Field[Any], value: Any) -> Any:
    """Turn text or a TOML value into the option's type.

    Raises UserError, naming the option, where that cannot be done.
    """
    kind, optional = option_type(declared)
    if optional and (value is None or value == ""):
        return None
    try:
        return _CONVERTERS[kind](value)
    except (TypeError, ValueError, OverflowError):
        raise refused(declared.name, value, _WANTED[kind]) from None


def option_type(declared: dataclasses.Field[Any]) -> tuple[type, bool]:
    """The plain type of an option (list for lists of text), and whether it may be empty."""
    text, _, none = str(declared.type).partition(" | ")
    return _KINDS[text], bool(none)


def _boolean(value: Any) -> bool:
    text = str(value).strip().lower()
    if text in ("true", "1", "yes"):
        return True
    if text in ("false", "0", "no"):
        return False
    raise ValueError


def _whole(value: Any) -> int:
    number = float(value)
    if isinstance(value, bool) or not number.is_integer():
        raise ValueError
    return int(number)


def _number(value: Any) -> float:
    number = float(value)
    if isinstance(value, bool) or not math.isfinite(number):
        raise ValueError
    return number


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):  # resolution = [448, 704]
        return ",".join(map(str, value))
    return str(value)


def _texts(value: Any) -> list[str]:
    return value.split() if isinstance(value, str) else [str(item) for item in value]


_KINDS = {"bool": bool, "int": int, "float": float, "str": str, "list[str]": list}
_CONVERTERS = {bool: _boolean, int: _whole, float: _number, str: _text, list: _texts}
_WANTED = {
    bool: Message("true or false"),
    int: Message("a whole number"),
    float: Message("a number"),
    str: Message("text"),
    list: Message("a list of name=value"),
}


def check_bounds(declared: dataclasses.Field[Any], value: Any) -> None:
    """Raise UserError, naming the option, where a value is not one that it may have."""
    low, high = declared.metadata["minimum"], declared.metadata["maximum"]
    choices = declared.metadata["choices"]
    if choices and value not in choices:
        raise refused(declared.name, value, Message("one of {list}", list=choices))
    if value is None or isinstance(value, (str, list)):
        return
    if (low is not None and value < low) or (high is not None and value > high):
        if high is None:
            wanted = Message("at least {low}", low=f"{low:g}")
        elif low is None:
            wanted = Message("at most {high}", high=f"{high:g}")
        else:
            between = "at least {low} and at most {high}"
            wanted = Message(between, low=f"{low:g}", high=f"{high:g}")
        raise refused(declared.name, value, wanted)


def refused(name: str, value: Any, wanted: Message) -> UserError:
    """The error that an option's value is not what it has to be."""
    text = value if isinstance(value, (int, float)) else repr(value)
    shown = text if len(str(text)) < 60 else f"{str(text)[:50]} …"
    sentence = "{name} is {value}: use {what}."
    return UserError(sentence, name=name, value=shown, what=wanted, about=name)
