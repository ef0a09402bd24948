"""Means of measured values with their uncertainty, and what may be concluded from them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True)
class Mean:
    """A mean with its standard error (NaN for a single value), over `count` values."""

    value: float
    error: float
    count: int

    @property
    def margin(self) -> float:
        """Half the range that holds the true mean with 95 % (Student's t)."""
        return _t(self.count - 1) * self.error

    @property
    def low(self) -> float:
        """The lower end of that range."""
        return self.value - self.margin

    @property
    def high(self) -> float:
        """The upper end of that range."""
        return self.value + self.margin

    def __str__(self) -> str:
        return f"{self.value:.2f} ± {self.margin:.2f}" if self.count > 1 else f"{self.value:.2f}"

    def signed(self) -> str:
        """The mean of a difference, with its sign."""
        return f"{self.value:+.2f} ± {self.margin:.2f}" if self.count > 1 else f"{self.value:+.2f}"


_T = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)  # of 1 .. 9 degrees of freedom


def _t(freedom: int) -> float:
    """Student's t for 95 %, both sides."""
    if freedom < 1:
        return math.nan
    return _T[freedom - 1] if freedom <= len(_T) else 1.96 + 2.5 / freedom


def mean(values: Iterable[float]) -> Mean:
    """The mean and its standard error; raises ValueError for no values."""
    numbers = [float(value) for value in values]
    if not numbers:
        raise ValueError("a mean of nothing")
    error = math.nan
    if len(numbers) > 1:
        error = statistics.stdev(numbers) / math.sqrt(len(numbers))
    return Mean(statistics.fmean(numbers), error, len(numbers))


def difference(after: Sequence[float], before: Sequence[float]) -> Mean:
    """The mean of after - before over pairs, such as pictures of the same prompt and seed."""
    return mean(new - old for new, old in zip(after, before, strict=True))


class Answer(Enum):
    """What the numbers say to a claim."""

    HOLDS = "holds"
    FAILS = "does not hold"
    OPEN = "not decided"


@dataclass(frozen=True)
class Check:
    """One stated criterion with the numbers that decide it."""

    criterion: str
    numbers: str
    answer: Answer


def is_above(criterion: str, measured: Mean, threshold: float = 0.0, what: str = "") -> Check:
    """Holds where the mean's 95 % range lies above the threshold, fails where it lies below.

    Where the range includes the threshold, the numbers decide nothing.
    """
    answer = Answer.OPEN
    if measured.low > threshold:
        answer = Answer.HOLDS
    elif measured.high < threshold:
        answer = Answer.FAILS
    bound = f", bound {threshold:+.2f}" if threshold else ""
    return Check(criterion, f"{what}{measured.signed()} (n = {measured.count}{bound})", answer)


def all_of(checks: Sequence[Check]) -> Answer:
    """A claim holds where all of its checks do, and fails where one does."""
    answers = {check.answer for check in checks}
    if Answer.FAILS in answers:
        return Answer.FAILS
    return Answer.OPEN if Answer.OPEN in answers else Answer.HOLDS
