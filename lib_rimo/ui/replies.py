"""What the Train tab's page is answered: JSON, and messages where something is refused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lib_rimo.errors import UserError
from lib_rimo.messages import Message

Reply = dict[str, Any]


class StaleError(UserError):
    """Made pictures would be made otherwise today."""


def refusal(error: UserError) -> Reply:
    """What the page is answered where something is refused: the English text, and all of it."""
    reply = {"error": str(error), "messages": as_json(error.messages)}
    return {**reply, "is_stale": True} if isinstance(error, StaleError) else reply


def as_json(messages: Iterable[Message]) -> list[Reply]:
    """Messages as the page takes them."""
    return [message.as_json() for message in messages]
