"""What an attack did, and what gave way."""

import traceback
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field

from lib_rimo.errors import UserError

KINDS = ("exceptions", "over the bound", "escapes", "lost", "not identical")
MOST_EXAMPLES = 5


@dataclass
class Tally:
    """How much was tried, how often what gave way, and the first examples of each."""

    tried: Counter = field(default_factory=Counter)
    """How many of what: `{"tags": 1000}`."""
    failures: Counter = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    worst: dict[str, float] = field(default_factory=dict)
    """Measurements of which the largest counts: `{"ms for 100,000 characters": 12.5}`."""
    done: int = 0
    """How much of a part that is run slice by slice."""

    def fail(self, kind: str, what: str) -> None:
        """Count something that gave way."""
        assert kind in KINDS
        self.failures[kind] += 1
        if self.failures[kind] <= MOST_EXAMPLES:
            self.examples.append(f"{kind}: {what[:600]!r}")

    def measure(self, what: str, value: float) -> None:
        """Keep the largest value of a measurement."""
        self.worst[what] = max(value, self.worst.get(what, value))

    @contextmanager
    def expecting_sentences(self, what: str):
        """Within it a UserError is an answer, and any other error is counted."""
        try:
            yield
        except UserError:
            pass
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            told = f"{type(error).__name__}: {str(error)[:200]} ({frame.filename}:{frame.lineno})"
            self.fail("exceptions", f"{told} for {what}")

    def add(self, other: "Tally", done: int) -> None:
        """Take in what another slice of the same attack found."""
        self.done += done
        self.tried = Counter(self.tried) + other.tried
        self.failures = Counter(self.failures) + other.failures
        self.examples = [*self.examples, *other.examples][: MOST_EXAMPLES * len(KINDS)]
        for what, value in other.worst.items():
            self.measure(what, value)
