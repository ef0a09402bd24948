"""What all dialects need of values that people and front ends write."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lib_rimo.errors import UserError
from lib_rimo.messages import Message


def is_blank(value: Any) -> bool:
    """Whether a front end's field was left empty."""
    return value is None or (isinstance(value, str) and not value.strip())


def is_on(value: Any) -> bool:
    """Whether a switch is on, also where it was written as text."""
    return value is True or str(value).strip().lower() in ("true", "1", "yes")


def number(value: Any) -> float:
    """A number, 0 for what is none, as front ends read their fields."""
    try:
        parsed = float(value)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return parsed if math.isfinite(parsed) else 0.0


def as_pairs(arguments: Any, name: str) -> list[str]:
    """`name=value` texts from a table, a list or one text of them; UserError for anything else."""
    if is_blank(arguments):
        return []
    if isinstance(arguments, Mapping):
        return [f"{key}={_plain(value)}" for key, value in arguments.items()]
    if isinstance(arguments, str):
        return arguments.replace('"', "").split()
    if isinstance(arguments, list):
        return [str(text) for text in arguments]
    raise UserError(
        "{name} is {value}: use a list of name=value.", name=name, value=repr(arguments), about=name
    )


def _plain(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def other_family(what: str, family: str) -> UserError:
    """The sentence for a configuration of a model that cannot be trained here."""
    return UserError(
        "This {what} is for {family}: only LoRAs for SD1, SD2 and SDXL can be trained here.",
        what=Message(what),
        family=family,
    )


def warning(sentence: str, **values: Any) -> Message:
    """What to tell of a file that is taken, but not in all it asks for."""
    return Message(sentence, level="warning", **values)


def not_supported(name: str, value: Any) -> Message:
    """What to tell of an option that does not exist here."""
    return warning(
        "{name} = {value} is not supported and was left out.", name=name, value=repr(value)
    )
