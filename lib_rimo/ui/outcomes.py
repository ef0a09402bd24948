"""Answers that outlive their connection: a phone sleeps, a proxy gives up after a minute or two."""

from __future__ import annotations

from lib_rimo.ui.replies import Reply

MOST = 16  # answers that are kept, the last ones


class Outcomes:
    """Keeps the answers that were asked to be kept, for the page to ask for once more.

    Such a request says `keep` and has a `ticket`, a name that the page made up for it.
    """

    def __init__(self) -> None:
        self._pending: set[str] = set()
        self._replies: dict[str, Reply] = {}

    def begin(self, asked: Reply) -> str:
        """A request that will be answered; its ticket, "" where no answer is to be kept."""
        if not asked.get("keep"):
            return ""
        ticket = str(asked["ticket"])
        self._pending.add(ticket)
        return ticket

    def end(self, ticket: str, reply: Reply) -> None:
        """The answer to it, also where it was refused."""
        if not ticket:
            return
        self._replies[ticket] = reply
        while len(self._replies) > MOST:
            self._replies.pop(next(iter(self._replies)))
        self._pending.discard(ticket)

    def do_outcome(self, asked: Reply) -> Reply:
        """Whether the request of a `ticket` goes on, and its answer; null where none is known."""
        ticket = str(asked["ticket"])
        return {"is_pending": ticket in self._pending, "reply": self._replies.get(ticket)}
