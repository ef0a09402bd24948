import os

import pytest

from lib_rimo.demo.tasks import Advance, Workers


def square(number: int, advance: Advance) -> tuple[int, int]:
    if number < 0:
        raise ValueError("below zero")
    advance(number)
    return number * number, os.getpid()


def test_one_process_is_this_one() -> None:
    results = Workers(1).run(square, [1, 2], total=3, unit="", description="")
    assert results == [(1, os.getpid()), (4, os.getpid())]


@pytest.mark.slow
def test_processes_stay_and_keep_order(capsys: pytest.CaptureFixture[str]) -> None:
    workers = Workers(2)
    try:
        results = workers.run(square, [3, 1, 2], total=6, unit="u", description="squares")
        assert [value for value, _ in results] == [9, 1, 4]
        first = {process for _, process in results}
        assert os.getpid() not in first
        assert "6/6" in capsys.readouterr().err
        (again,) = workers.run(square, [5], total=5, unit="u", description="")
        assert again[1] != os.getpid()
        with pytest.raises(ValueError, match="below zero"):
            workers.run(square, [1, -1], total=1, unit="u", description="")
    finally:
        workers.close()
