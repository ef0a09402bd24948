"""Configurations of other trainers' front ends, each translated into kohya's option names.

A dialect is a module with two functions: `recognises` tells whether a file is one of its own,
`translate` gives kohya's names and values, tells what cannot be taken, and raises
UserError for what is no training of a LoRA for SD1, SD2 or SDXL at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lib_rimo.messages import Message
from lib_rimo.training.config.dialects import (
    easy_training,
    kohya_gui,
    lora_scripts,
    one_trainer,
)

Translate = Callable[[Mapping[str, Any], list[Message]], dict[str, Any]]

DIALECTS = (kohya_gui, easy_training, one_trainer, lora_scripts)


def as_kohyas(content: Mapping[str, Any], messages: list[Message]) -> Mapping[str, Any]:
    """The content in kohya's names, where it is a front end's file; else as it is."""
    for dialect in DIALECTS:
        if dialect.recognises(content):
            translate: Translate = dialect.translate
            return translate(content, messages)
    return content
