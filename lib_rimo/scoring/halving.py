"""Successive halving: little is asked of many, more of those still in the running.

Jamieson and Talwalkar 2016, "Non-stochastic Best Arm Identification and Hyperparameter
Optimization" (arXiv:1502.07943).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Candidate = TypeVar("Candidate")


def rounds(candidates: int, seeds: int) -> Iterator[tuple[int, int]]:
    """(candidates still in the running, seeds each of them has by then) of every round.

    Begins with one seed each; each round keeps the better half and doubles the seeds, up to
    `seeds`. The last round has all seeds.
    """
    given = 1
    while given < seeds and candidates > 2:
        yield candidates, given
        candidates, given = -(-candidates // 2), min(2 * given, seeds)
    yield candidates, seeds


def pictures_needed(candidates: int, seeds: int) -> int:
    """How many pictures of one prompt all rounds draw together."""
    total, before = 0, 0
    for running, given in rounds(candidates, seeds):
        total += running * (given - before)
        before = given
    return total


def halve(
    candidates: Sequence[Candidate],
    measure: Callable[[Candidate, int], float],
    seeds: int,
) -> list[Candidate]:
    """All candidates, best first: those that stayed longer before those that left.

    `measure(candidate, given)` says how good a candidate is by its first `given` seeds.
    """
    running, left = list(candidates), list[Candidate]()
    for count, given in rounds(len(candidates), seeds):
        left = running[count:] + left
        running = sorted(running[:count], key=lambda one: -measure(one, given))
    return running + left
