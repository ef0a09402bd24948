"""Successive halving: the best is found with fewer pictures than asking everybody everything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_rimo.scoring.halving import halve, pictures_needed, rounds


@given(st.permutations(range(11)), st.integers(1, 9))
def test_ranks_all_candidates_where_measuring_is_exact(candidates: list[int], seeds: int):
    ranked = halve(candidates, lambda candidate, given: candidate, seeds)
    assert sorted(ranked) == sorted(candidates)
    assert ranked[0] == 10
    assert ranked == sorted(candidates, reverse=True)


@given(st.integers(1, 40), st.integers(1, 16))
def test_asks_no_more_than_it_says(count: int, seeds: int):
    asked: dict[int, int] = {}

    def measure(candidate: int, given: int) -> float:
        asked[candidate] = max(given, asked.get(candidate, 0))
        return -candidate

    halve(range(count), measure, seeds)
    assert sum(asked.values()) == pictures_needed(count, seeds) <= count * seeds
    assert asked[0] == seeds  # whoever wins was looked at as closely as can be


def test_most_leave_early():
    assert list(rounds(12, 4)) == [(12, 1), (6, 2), (3, 4)]
    assert pictures_needed(12, 4) == 12 + 6 + 6


@pytest.mark.parametrize("seeds", [1, 2, 8])
def test_a_candidate_that_only_seemed_good_is_passed_over(seeds: int):
    measured = {"lucky": [9, 0], "steady": [5, 5]}
    ranked = halve(list(measured), lambda name, given: measured[name][given > 1], seeds)
    assert ranked[0] == ("lucky" if seeds == 1 else "steady")
