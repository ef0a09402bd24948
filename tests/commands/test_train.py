"""The verb `train`: what it refuses before it trains."""

import json
import shlex

import pytest

from lib_rimo.__main__ import main
from lib_rimo.training.jobs import job


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """Options of a training that would run; what it was asked for is kept."""
    monkeypatch.setenv("RIMO_ENVIRONMENT", "current")
    calls = []
    monkeypatch.setattr(job, "run_job", lambda options, sinks, **named: calls.append(named))
    return ["train", "--output_dir", str(tmp_path), "--output_name", "my lora"], calls


def test_a_second_run_is_refused_with_both_commands(trained, tmp_path, monkeypatch, capsys):
    arguments, calls = trained
    monkeypatch.setattr("sys.argv", ["rimo", *arguments])
    assert main(arguments) == 0
    (tmp_path / "my lora.job").mkdir()
    (tmp_path / "my lora.job" / "state.pt").touch()
    assert main(arguments) == 2
    told = capsys.readouterr().err
    for choice in ("--resume", "--overwrite"):
        assert shlex.join(["python", "-m", "lib_rimo", *arguments, choice]) in told
        assert main([*arguments, choice]) == 0
    assert [call["resume"] for call in calls] == [False, True, False]


def test_messages_are_json_for_a_program_that_asks(trained, tmp_path, monkeypatch, capsys):
    arguments, _ = trained
    monkeypatch.setenv("RIMO_MESSAGES", "json")
    assert main([*arguments, "--unet_lr", "much", "--network_dim", "ten"]) == 2
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["about"] for line in lines] == ["unet_lr", "network_dim"] or [
        line["about"] for line in lines
    ] == ["network_dim", "unet_lr"]
