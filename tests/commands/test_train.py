"""The verb `train`: what it refuses before it trains."""

import json
import shlex

import pytest

from lib_rimo.__main__ import main
from lib_rimo.training.config.built_in import BACKGROUNDS_KEPT
from lib_rimo.training.config.options import TrainingOptions
from lib_rimo.training.jobs import job
from tests.sd.narrow import write_narrow_checkpoint


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """Options of a training that would run; what it was asked for is kept."""
    monkeypatch.setenv("RIMO_ENVIRONMENT", "current")
    calls = []
    monkeypatch.setattr(
        job,
        "run_job",
        lambda options, sinks, **named: calls.append({**named, "options": options}),
    )
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


def test_the_cure_takes_what_the_familys_recipe_asks_for(trained, tmp_path):
    arguments, calls = trained
    base, job_file = tmp_path / "narrow.safetensors", tmp_path / "job.toml"
    write_narrow_checkpoint(base, "sdxl")
    cure = [*arguments, "--recipe", BACKGROUNDS_KEPT, "--pretrained_model_name_or_path", str(base)]
    job_file.write_text(f"pretrained_model_name_or_path = '{base}'\n[network]\nnetwork_alpha = 8\n")
    for given in (
        cure,
        [*cure, "--text_encoder_lr", "1e-5"],
        [*arguments, "--recipe", BACKGROUNDS_KEPT, str(job_file)],
        [*arguments, "--recipe", BACKGROUNDS_KEPT],
    ):
        assert main(given) == 0
    found = [
        (one.masked_training, one.network_alpha, one.text_encoder_lr, one.gradient_checkpointing)
        for one in (call["options"] for call in calls)
    ]
    usual = TrainingOptions()
    assert found == [
        (True, 3.0, 0.0, True),
        (True, 3.0, 1e-5, True),
        (True, 8.0, 0.0, True),
        (True, 3.0, usual.text_encoder_lr, usual.gradient_checkpointing),
    ]


def test_messages_are_json_for_a_program_that_asks(trained, tmp_path, monkeypatch, capsys):
    arguments, _ = trained
    monkeypatch.setenv("RIMO_MESSAGES", "json")
    assert main([*arguments, "--unet_lr", "much", "--network_dim", "ten"]) == 2
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["about"] for line in lines] == ["unet_lr", "network_dim"] or [
        line["about"] for line in lines
    ] == ["network_dim", "unet_lr"]
