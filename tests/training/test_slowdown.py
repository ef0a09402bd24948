"""Steps that suddenly take many times longer are noticed."""

from lib_rimo.training.run import CRAWL, Run, crawling


def run_of(*durations):
    run = Run()
    for seconds in durations:
        run.note(0.1, seconds)
    return run


def test_an_even_pace_and_single_slow_steps_are_nothing():
    assert run_of(*[1.0] * 30).slowdown == 1
    assert run_of(*[1.0] * 20, 60.0, 1.0, 1.0).slowdown == 1


def test_a_spill_is_noticed():
    run = run_of(*[1.0] * 20, *[70.0] * 5)
    assert run.slowdown > CRAWL
    assert "70 times as long" in crawling(run.slowdown).text()


def test_steps_in_which_pictures_are_encoded_say_nothing_of_later_ones():
    run = Run()
    for seconds in (9.0, 5.0, 5.0):
        run.note(0.1, seconds, encoded=True)
    assert run.seconds_a_step == 5  # as long as no other is known
    for _ in range(9):
        run.note(0.1, 1.0)
    assert run.seconds_a_step == 1
    assert not run.is_timed
    run.note(0.1, 1.0)
    assert run.is_timed


def test_a_slow_beginning_is_nothing():
    assert run_of(30.0, *[1.0] * 10).slowdown == 1
