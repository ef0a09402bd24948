"""What is told to the user: a sentence, the values in it, what it is about and how grave it is.

A sentence is written once, in English and with `{name}` where a value goes. It stays apart from its
values until it is shown: the terminal fills them in as it is, the page takes the sentence's
translation from `localizations/` first. So nothing has to be found out of finished sentences again.
"""

from __future__ import annotations

import copy
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Literal, TextIO

from lib_rimo.text import visible

Level = Literal["note", "warning", "error"]

_HOLE = re.compile(r"\{(\w+)\}")


class Message:
    """One sentence, or a phrase that is a value of another one.

    Two messages are equal where they say the same of the same thing.
    """

    def __init__(
        self, template: str, /, *, about: str = "", level: Level = "error", **values: Any
    ) -> None:
        """`about` names the option, or the picture, that the sentence speaks of.

        Values are text, numbers, phrases, or lists of these. A `{` in a template that no value has
        the name of stands for itself, so that any plain sentence is a template.
        """
        self.template = template
        self.values = {name: _plain(value) for name, value in values.items()}
        self.about = about
        self.level: Level = level

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"Message({self.text()!r}, about={self.about!r}, level={self.level!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Message) and self.as_json() == other.as_json()

    def __hash__(self) -> int:
        return hash((self.text(), self.about, self.level))

    def text(self, translations: Mapping[str, str] | None = None) -> str:
        """The finished sentence: English, or as `translations` of templates have it."""
        translations = translations or {}

        def fill(hole: re.Match[str]) -> str:
            if hole[1] not in self.values:
                return hole[0]
            return _text(self.values[hole[1]], translations)

        return _HOLE.sub(fill, translations.get(self.template, self.template))

    def as_json(self) -> dict[str, Any]:
        """For events and pages, with the finished English sentence as `text`."""
        return {
            "text": self.text(),
            "template": self.template,
            "values": {name: _as_json(value) for name, value in self.values.items()},
            "about": self.about,
            "level": self.level,
        }

    @classmethod
    def from_json(cls, content: Any, most_phrases: int = 8) -> Message:
        """What `as_json` gave, or a plain sentence; what is neither becomes a sentence.

        Phrases within phrases are read so deep.
        """
        if not isinstance(content, Mapping):
            return cls(str(content))
        template = content.get("template", content.get("text", ""))
        values = content.get("values")
        level = content.get("level")
        message = cls(
            str(template),
            about=str(content.get("about") or ""),
            level=level if level in ("note", "warning", "error") else "error",
        )
        if isinstance(values, Mapping) and most_phrases:
            message.values = {
                str(name): _from_json(value, most_phrases - 1) for name, value in values.items()
            }
        return message


Tell = Callable[[Message], None]
"""Receives what the user should know and what stops nothing."""


def join(messages: Iterable[Message]) -> str:
    """Several sentences one after another, in English."""
    return " ".join(message.text() for message in messages)


AS_JSON = "RIMO_MESSAGES"
"""An environment variable: at "json" our verbs print their messages for a program to read."""
_SIGNS = {"note": "", "warning": "warning: ", "error": "error: "}


def is_read_by_program() -> bool:
    """Whether what our verbs print is read by a program that asked for JSON."""
    return os.environ.get(AS_JSON) == "json"


def write_messages(messages: Iterable[Message], file: TextIO) -> None:
    """Print messages, a line each: in English, or as JSON to a program that asked for it."""
    as_json = is_read_by_program()
    for message in messages:
        line = f"{_SIGNS[message.level]}{message}"
        line = json.dumps(message.as_json()) if as_json else visible(line)
        print(line, file=file, flush=True)


def read_messages(text: str) -> list[Message]:
    """The messages that a verb printed as JSON among its other lines."""
    messages = []
    for line in text.splitlines():
        with suppress(ValueError, RecursionError):
            content = json.loads(line)
            if isinstance(content, dict) and "template" in content:
                messages.append(Message.from_json(content))
    return messages


def as_warning(message: Message) -> Message:
    """What a refusal says, where it stops nothing."""
    warning = copy.copy(message)
    warning.level = "warning"
    return warning


def in_turn(phrases: Iterable[Message]) -> Message:
    """Phrases to be read as an order of steps: this, then that."""
    first, *others = phrases
    for phrase in others:
        first = Message("{first}, then {second}", first=first, second=phrase)
    return first


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has none of these
    if isinstance(value, (Message, str, int, float)) and not isinstance(value, bool):
        return value
    if isinstance(value, Exception):  # a UserError inside of a sentence
        messages: Any = getattr(value, "messages", ())
        return messages[0] if len(messages) == 1 else str(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value)


def _text(value: Any, translations: Mapping[str, str]) -> str:
    if isinstance(value, Message):
        return value.text(translations)
    if isinstance(value, list):
        return ", ".join(_text(item, translations) for item in value)
    return str(value)


def _as_json(value: Any) -> Any:
    if isinstance(value, Message):
        return {
            "template": value.template,
            "values": {name: _as_json(inside) for name, inside in value.values.items()},
        }
    return [_as_json(item) for item in value] if isinstance(value, list) else value


def _from_json(value: Any, most_phrases: int) -> Any:
    if isinstance(value, Mapping):
        return Message.from_json(value, most_phrases)
    if isinstance(value, list) and most_phrases:
        return [_from_json(item, most_phrases - 1) for item in value]
    return _plain(value)
