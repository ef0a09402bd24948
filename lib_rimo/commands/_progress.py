"""How far a verb is: a bar for a person, lines of JSON for a program that reads its messages."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lib_rimo.messages import Message, is_read_by_program

if TYPE_CHECKING:
    from tqdm import tqdm


class Progress:
    """Is told how many are done of how many; what was there at its first call took no time."""

    def __init__(self, what: Message, unit: str = "picture") -> None:
        """`what` says what is done, such as "Places drawn"."""
        self._what, self._unit = what, unit
        self._bar: tqdm[None] | None = None
        self._begun: tuple[float, int] | None = None

    def __call__(self, done: int, total: int) -> None:
        """So many are done."""
        if is_read_by_program():
            self._print(done, total)
            return
        if self._bar is None:
            from tqdm import tqdm

            what = str(self._what)
            self._bar = tqdm(desc=what, total=total, initial=done, unit=self._unit, delay=0.5)
        self._bar.update(done - self._bar.n)
        if done >= total:
            self._bar.close()

    def _print(self, done: int, total: int) -> None:
        from lib_rimo.training.events import Events, print_json

        now = time.monotonic()
        start, before = self._begun = self._begun or (now, done)
        left = (total - done) * (now - start) / (done - before) if done > before else None
        Events(print_json).emit(
            "progress", what=self._what.as_json(), done=done, total=total, seconds_left=left
        )
