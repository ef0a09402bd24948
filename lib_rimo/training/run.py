"""How far a training is, how it goes and how fast."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field

from lib_rimo.errors import UserError
from lib_rimo.messages import Message

SMOOTHING = 0.95  # of the loss shown: a single step's loss says little, it depends on the timestep

ENOUGH_STEPS = 10  # to tell how long one takes
CRAWL = 8.0  # times slower all of a sudden: what a GPU gives that keeps its data elsewhere


@dataclass
class Run:
    """What changes while training, beside the weights."""

    step: int = 0
    loss: float = math.nan
    smoothed_loss: float = math.nan
    seconds: float = math.nan  # of the last step
    durations: list[float] = field(default_factory=list)
    """Seconds of the last steps in which nothing was encoded: those to come are like them."""
    signals: list[tuple[int, float, float]] = field(default_factory=list)
    """Step, fit and drift of the saved steps (`lib_rimo/training/signals.py`)."""

    def note(self, loss: float, seconds: float, *, encoded: bool = False) -> None:
        """Take down a finished step, in which pictures were `encoded` too or not."""
        self.step += 1
        self.loss = loss
        previous = loss if math.isnan(self.smoothed_loss) else self.smoothed_loss
        self.smoothed_loss = SMOOTHING * previous + (1 - SMOOTHING) * loss
        self.seconds = seconds
        if not encoded:
            self.durations = [*self.durations[-49:], seconds]

    @property
    def seconds_a_step(self) -> float:
        """What a step takes, by the last ones."""
        return statistics.median(self.durations or [self.seconds])

    @property
    def is_timed(self) -> bool:
        """Whether enough steps are known to tell what one takes."""
        return len(self.durations) >= ENOUGH_STEPS

    @property
    def slowdown(self) -> float:
        """How many times longer the last steps took than those before; 1 where few are known."""
        recent, before = self.durations[-5:], self.durations[:-5]
        if len(before) < 10:
            return 1.0
        return statistics.median(recent) / statistics.median(before)


def crawling(times: float) -> Message:
    """What to tell of a run that has become many times slower."""
    return Message(
        "Steps suddenly take {n} times as long: mostly the GPU's memory is full and the "
        "driver, as on Windows, goes on in the machine's own. Close other programs that use the "
        "GPU, or stop and resume with gradient_checkpointing.",
        level="warning",
        n=f"{times:.0f}",
    )


def is_due(step: int, every: int) -> bool:
    """Whether something done every so many steps is due after this one; 0 is never."""
    return every > 0 and step % every == 0


def not_finite(what: Message) -> UserError:
    """What a run ends with that lost its numbers."""
    return UserError(
        "The {what} became infinite or not a number, so the training was stopped and the last "
        "good file kept: halve the learning rates, or use mixed_precision bf16 or no.",
        what=what,
    )
