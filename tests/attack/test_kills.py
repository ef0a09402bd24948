"""What the attack on trainings takes for saved: who goes on from less has lost something."""

import pytest

from tests.attack.kills import first_step, state_kept


def told(*steps, kind="progress"):
    return [{"kind": kind, "step": step} for step in steps]


@pytest.mark.parametrize(
    ("steps", "every", "is_saved", "kept"),
    [
        ((), 1, False, 0),
        ((1,), 1, False, 0),  # killed after it told of the step, maybe before it was saved
        ((1, 2), 1, False, 1),
        ((1, 2), 2, False, 0),
        ((3, 4, 5), 2, False, 4),
        ((5,), 2, False, 0),  # resumed from 4, whose state another run saved
        ((1,), 3, True, 1),  # stopped: what there is was saved
        ((), 1, True, 0),
    ],
)
def test_a_state_counts_as_saved_once_the_next_step_is_told_of(steps, every, is_saved, kept):
    assert state_kept(told(*steps), every, is_saved) == kept


def test_a_run_that_finds_no_state_keeps_its_own_steps_only():
    """Its folder tells of step 2 too, whose state the run before was killed in writing."""
    before, anew = told(1, 2), [{"kind": "phase"}, *told(1), {"kind": "stopped"}]
    assert state_kept(before, 2, False) == 0
    assert state_kept(anew, 2, True) == 1
    assert first_step(anew) == 0


@pytest.mark.parametrize(
    ("events", "step"),
    [
        ([{"kind": "data"}], None),
        (told(4, kind="resumed") + told(5, 6), 4),
        (told(5, 6), 4),  # the line that says so may be lost on a full disk
        (told(6, kind="resumed"), 6),
    ],
)
def test_where_a_run_goes_on_from(events, step):
    assert first_step(events) == step
