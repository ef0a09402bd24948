import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_rimo.demo.measures import Answer, Check, all_of, difference, is_above, mean


def test_range_is_students() -> None:
    measured = mean([1.0, 2.0, 3.0])
    assert measured.value == 2
    assert measured.error == pytest.approx(1 / math.sqrt(3))
    assert measured.margin == pytest.approx(4.30 / math.sqrt(3))
    assert mean(range(31)).margin / mean(range(31)).error == pytest.approx(2.042, abs=0.003)


def test_one_value_decides_nothing() -> None:
    assert is_above("", mean([5.0])).answer is Answer.OPEN


def test_difference_is_of_pairs() -> None:
    assert difference([2, 4, 6], [1, 3, 5]).error == 0
    with pytest.raises(ValueError, match="shorter"):
        difference([1, 2], [1])


@pytest.mark.parametrize(
    ("values", "answer"),
    [
        ([1.0, 1.1, 0.9], Answer.HOLDS),
        ([-1.0, -1.1, -0.9], Answer.FAILS),
        ([1.0, -1.0, 0.1], Answer.OPEN),
    ],
)
def test_answers(values: list[float], answer: Answer) -> None:
    assert is_above("", mean(values)).answer is answer


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=20), st.floats(-5, 5))
def test_never_holds_and_fails(values: list[float], threshold: float) -> None:
    above = is_above("", mean(values), threshold).answer
    below = is_above("", mean(-value for value in values), -threshold).answer
    opposite = {
        Answer.HOLDS: Answer.FAILS,
        Answer.FAILS: Answer.HOLDS,
        Answer.OPEN: Answer.OPEN,
    }
    assert below is opposite[above]


def test_one_failure_fails_the_claim() -> None:
    checks = {answer: Check("", "", answer) for answer in Answer}
    assert all_of([checks[Answer.HOLDS]]) is Answer.HOLDS
    assert all_of([checks[Answer.HOLDS], checks[Answer.OPEN]]) is Answer.OPEN
    assert all_of(list(checks.values())) is Answer.FAILS
