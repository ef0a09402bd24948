"""What a LoRA may be called: its name is a file's, and stands in `<lora:NAME:1>`."""

from __future__ import annotations

import os
import re

from lib_rimo.messages import Message

SIGNS = '/\\:*?"<>|='
LONGEST = 150
"""Bytes; `-step00000500.safetensors` and what is written beside have to fit too, in 255."""
# What Windows keeps for itself, whatever the ending.
_RESERVED = {
    *("con", "prn", "aux", "nul"),
    *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10)),
}
_SAVED_AT = re.compile(r"-(?:step\d{8}|\d{6})$")  # the step or epoch behind a name


def check_name(name: str) -> list[Message]:
    """What is wrong with an `output_name`; nothing where it can be used on every system."""
    try:
        length = len(os.fsencode(name))
    except UnicodeEncodeError:
        return [_refusal(name)]
    if length > LONGEST:
        return [
            Message(
                "output_name is {n} bytes long: use at most {most}.",
                n=length,
                most=LONGEST,
                about="output_name",
            )
        ]
    is_plain = name.isprintable() and name == name.strip(" .") and not set(name) & set(SIGNS)
    is_free = name.partition(".")[0].lower() not in _RESERVED
    return [] if name and is_plain and is_free else [_refusal(name)]


def _refusal(name: str) -> Message:
    return Message(
        "output_name is {value}: use a name that can be a file's and stand in <lora:NAME:1>, "
        "without {signs}, and without spaces or dots at its ends.",
        value=repr(name),
        signs=" ".join(SIGNS),
        about="output_name",
    )


def output_name_of(stem: str) -> str:
    """The name of the training that wrote a LoRA so named: without a step or epoch at its end."""
    return _SAVED_AT.sub("", stem)
