"""Fit and drift of saved steps, measured while training."""

import dataclasses
from pathlib import Path

import pytest
import torch

from lib_rimo.lora.files import read_lora
from lib_rimo.training.events import Events
from lib_rimo.training.jobs.job import run_job
from lib_rimo.training.jobs.progress import Progress
from lib_rimo.training.saving import measure, name_best
from lib_rimo.training.signals import MOST_TIME, Signal, Signals, best_of, reason_of
from lib_rimo.training.trainer import Trainer


@pytest.fixture(params=["text encoder too", "UNet alone"])
def trainer(request, options, tmp_path: Path) -> Trainer:
    if request.param == "UNet alone":
        options = dataclasses.replace(options, text_encoder_lr=0.0)
    told: list[dict] = []
    trainer = Trainer(options, Events(told.append), tmp_path)
    trainer.told = told
    return trainer


def disturb(trainer: Trainer, size: float) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in trainer.parameters:
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))


def test_a_lora_that_does_nothing_yet_has_neither_fit_nor_drift(trainer: Trainer):
    modes = {module: module.training for module in trainer.denoiser.modules()}
    signals, random = Signals(trainer), torch.get_rng_state()
    signal = signals.measure()
    assert (signal.fit, signal.drift) == pytest.approx((0, 0), abs=1e-3)
    assert torch.equal(random, torch.get_rng_state())
    disturb(trainer, 0.05)
    weights = [parameter.clone() for parameter in trainer.parameters]
    moved, again = signals.measure(), signals.measure()
    assert moved == again
    assert moved.fit < 1
    assert moved.drift > 0.01
    disturb(trainer, 0.05)
    assert signals.measure().drift > moved.drift
    assert not any(map(torch.equal, weights, trainer.parameters))
    assert modes == {module: module.training for module in trainer.denoiser.modules()}


def test_takes_its_share_of_the_time_and_no_more(trainer: Trainer):
    now = iter(range(0, 10_000, 10))  # each measuring takes 10 s
    signals = Signals(trainer, lambda: float(next(now)))
    trainer.run.durations = [1.0] * 20
    spent, steps = 0, range(20, 601, 20)
    for step in steps:
        trainer.run.step = step
        if measure(trainer, signals):
            spent += 10
        assert spent <= MOST_TIME * step + 10
    assert 20 <= spent <= MOST_TIME * steps[-1] + 10
    assert [event["kind"] for event in trainer.told[-2:]] == ["signal"] * 2


def test_the_best_saved_step_is_named_and_one_that_was_deleted_is_not(trainer: Trainer, tmp_path):
    options = trainer.options
    options.output_dir = str(tmp_path)
    trainer.run.step = 300
    trainer.run.signals = [(100, 0.5, 0.1), (200, 0.55, 0.2), (300, 0.6, 1.5)]
    for stem in ("-step00000200", ""):
        (tmp_path / f"{options.output_name}{stem}.safetensors").touch()
    name_best(trainer)
    progress = Progress()
    for event in trainer.told:
        progress.take(event)
    step, path, message = progress.best
    assert step == 200
    assert Path(path).exists()
    assert str(message).startswith("Step 200 serves best of those saved: it has 92% of")


def test_fit_counts_and_drift_counts_against_it():
    early, late = Signal(100, 0.5, 0.2), Signal(900, 0.55, 1.2)
    assert best_of([early, late]) == early
    late = Signal(900, 0.9, 0.4)
    assert best_of([early, late]) == late
    assert "last step serves best" in str(reason_of(late, late))
    assert best_of([late]) is None


def test_training_learns_the_same_to_the_bit_whether_it_measures_or_not(
    options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    learned, kinds = [], []
    for measures in (True, False):
        monkeypatch.setattr(Signals, "is_affordable", lambda self, measures=measures: measures)
        own = dataclasses.replace(options, max_train_steps=4, save_every_n_steps=2)
        own.output_dir, told = str(tmp_path / str(measures)), []
        learned.append(read_lora(run_job(own, [told.append])).tensors)
        kinds.append([event["kind"] for event in told])
    assert kinds[0].count("signal") == 2
    assert kinds[0].count("best") == 1
    assert "signal" not in kinds[1]
    assert all(torch.equal(learned[0][name], tensor) for name, tensor in learned[1].items())
