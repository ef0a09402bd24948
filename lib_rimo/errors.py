"""What stops something and can be mended by the user."""

from __future__ import annotations

from typing import Any

from lib_rimo.messages import Message, join


class UserError(Exception):
    """Something the user can mend: one clear sentence that says what to do, or one for each fault.

        raise UserError("There is no job {job}: it may have been removed.", job=identity)
        raise UserError("resolution is {value}: use 512.", value=text, about="resolution")
        raise UserError(*faults)

    The command line prints them and exits with 2; the tab and the API hand them on as they are.
    """

    def __init__(self, *sentences: str | Message, about: str = "", **values: Any) -> None:
        """A sentence with values for its `{name}`s and the option it is `about`; or messages."""
        self.messages = tuple(
            sentence if isinstance(sentence, Message) else Message(sentence, about=about, **values)
            for sentence in sentences
        )
        super().__init__(*self.messages)

    def __str__(self) -> str:
        """All sentences; made when they are asked for, as most are shown in another way."""
        return join(self.messages)


class MissingError(UserError):
    """What was asked for by its name is not there."""
