"""How ended trainings are told of."""

import pytest

from lib_rimo.training.jobs.diagnosis import diagnose
from lib_rimo.training.jobs.progress import Progress, thinned


@pytest.fixture
def progress(tmp_path):
    progress = Progress()
    file = tmp_path / "rimo.safetensors"
    file.touch()
    gone = tmp_path / "gone.safetensors"
    for kind, values in (
        ("phase", {"phase": "training", "step": 0, "steps": 9}),
        ("saved", {"path": str(file), "step": 5}),
        ("saved", {"path": str(gone), "step": 6}),
    ):
        progress.take({"kind": kind, "time": 1.0, **values})
    return progress


@pytest.mark.parametrize(
    ("exit_status", "circumstances", "said"),
    [
        (-9, {"memory_ran_out": True}, "memory (RAM) ran out"),
        (137, {}, "killed from outside"),
        (-9, {"disk_full": True}, "disk is full"),
        (-11, {}, "graphics driver"),
        (0xC0000005 - (1 << 32), {}, "graphics driver"),
        (-15, {}, "signal 15"),
        (1, {}, "KeyError: 'cat'"),
        (None, {}, "switched off"),
    ],
)
def test_a_silent_end(progress, tmp_path, exit_status, circumstances, said):
    log = tmp_path / "log.txt"
    log.write_text("Traceback\nKeyError: 'cat'\n\n")
    ending = diagnose(progress, log=log, can_resume=True, exit_status=exit_status, **circumstances)
    assert ending.kind == "died"
    assert said in ending.text
    assert "The last good file is rimo.safetensors, of step 5." in ending.text
    assert ending.text.endswith("Resume goes on from the last saved state.")


def test_a_failed_training_names_its_last_good_file_too(progress, tmp_path):
    full = "The disk is full, rimo.safetensors could not be written: make room."
    progress.take({"kind": "failed", "time": 2.0, "text": full})
    ending = diagnose(progress, log=tmp_path / "log.txt", can_resume=True, exit_status=2)
    assert ending.kind == "failed"
    assert ending.text == (
        f"{full} The last good file is rimo.safetensors, of step 5. "
        "Resume goes on from the last saved state."
    )


def test_a_resumed_run_draws_its_curve_anew_from_there(progress):
    for step in range(1, 9):
        progress.take(event(step))
    progress.take({"kind": "phase", "time": 2.0, "phase": "training", "step": 4, "steps": 9})
    progress.take(event(5))
    assert [point[0] for point in progress.curve] == [1, 2, 3, 4, 5]


def event(step):
    return {
        "kind": "progress",
        "time": 1.0,
        "step": step,
        "steps": 9,
        "loss": 1.0,
        "smoothed_loss": 1.0,
        "learning_rates": [1e-4],
        "seconds_left": 3.0,
    }


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 54_321])
def test_a_thinned_curve_ends_with_the_last_point(count):
    points = [(step, 0.0, 0.0, 0.0) for step in range(count)]
    kept = thinned(points)
    assert len(kept) <= 1000
    assert kept[-1:] == points[-1:]
