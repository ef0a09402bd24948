"""How far a search is, and how long what is left of it takes."""

from __future__ import annotations

import time
from collections.abc import Callable

Tell = Callable[[int, int, float | None], object]
"""Receives how many pictures were looked at, of how many, and the seconds left if that is known."""


class Pace:
    """Counts pictures; those that were there already take no time."""

    def __init__(self, tell: Tell, clock: Callable[[], float] = time.monotonic) -> None:
        self.total, self.done = 0, 0
        self._tell, self._clock = tell, clock
        self._drawn, self._spent, self._last = 0, 0.0, clock()

    def look(self, is_new: bool) -> None:
        """A picture was looked at for the first time, and had to be drawn or not."""
        now = self._clock()
        self.done += 1
        if is_new:
            self._drawn += 1
            self._spent += now - self._last
        self._last = now
        self._tell(self.done, max(self.total, self.done), self.seconds_left)

    @property
    def seconds_left(self) -> float | None:
        """By what a drawn picture took, with all that lies between two; None before the first."""
        if not self._drawn:
            return None
        return max(0, self.total - self.done) * self._spent / self._drawn

    def begin_anew(self) -> None:
        """What was drawn so far says little of what comes: the first picture takes longer."""
        self._drawn, self._spent = 0, 0.0

    def wait(self) -> None:
        """What passed since the last picture was no work."""
        self._last = self._clock()
