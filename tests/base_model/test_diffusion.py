"""The diffusion's training resumes, and a longer plan goes on from before the decay."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from lib_rimo.base_model import diffusion, latents
from lib_rimo.base_model.diffusion import Phase, learning_rate, train_diffusion
from lib_rimo.base_model.latents import Chunk
from lib_rimo.base_model.parallel import Worker
from lib_rimo.base_model.stage import Stage


class OneNumber(nn.Module):
    """Stands for the networks: says that all noise is one number."""

    def __init__(self, family: str = "sd1") -> None:
        super().__init__()
        self.number = nn.Parameter(torch.tensor(1.0))

    def forward(self, pictures, timesteps, tokens):
        return self.number.expand_as(pictures)


@pytest.fixture
def train(tmp_path: Path, monkeypatch):
    chunk = Chunk(
        torch.zeros(4, 4, 4, 4).half(), torch.ones(4, 4, 4, 4).half(), torch.zeros(4, 1, 77).int()
    )
    monkeypatch.setattr(diffusion, "Networks", OneNumber)
    monkeypatch.setattr(diffusion, "CHUNK", 4)
    monkeypatch.setattr(diffusion, "load_chunk", lambda *_: chunk)
    monkeypatch.setattr(latents, "CHUNK", 4)

    def run(name: str, *phases: Phase) -> dict[str, object]:
        stage = Stage(tmp_path, name)
        train_diffusion(Worker(), stage, stage, stage, nn.Identity(), list(phases))
        return stage.load()

    return run


def phase(steps: int, decay: int = 0) -> Phase:
    return Phase(steps=steps, batch=2, shrink=1, chunks=1, chunk_every=100, decay=decay)


def test_second_run_adds_nothing(train):
    first = train("a", phase(3))
    again = train("a", phase(3))
    assert again["position"] == first["position"] == {"phase": 0, "step": 3, "total": 3}


def test_phases_follow_each_other_after_an_interruption(train):
    train("a", phase(3))
    state = train("a", phase(3), phase(2))
    assert state["position"] == {"phase": 1, "step": 2, "total": 5}


def test_interrupted_run_learns_the_same(train):
    train("a", phase(3))
    resumed = train("a", phase(3), phase(4))
    whole = train("b", phase(3), phase(4))
    assert torch.equal(resumed["networks"]["number"], whole["networks"]["number"])


def test_longer_plan_goes_on_from_before_the_decay(train):
    train("a", phase(6, decay=3))
    longer = train("a", phase(9))
    undecayed = train("b", phase(9))
    assert torch.equal(longer["networks"]["number"], undecayed["networks"]["number"])


def test_plan_changed_again_keeps_what_was_learned_since(train):
    train("a", phase(6, decay=3))
    train("a", phase(9))
    state = train("a", phase(10))
    undecayed = train("b", phase(10))
    assert torch.equal(state["networks"]["number"], undecayed["networks"]["number"])


def test_neither_clean_pictures_nor_pure_noise_dominate(monkeypatch):
    """The same error, of a network that says there is no noise, at three noise levels."""
    nothing = OneNumber()
    torch.nn.init.zeros_(nothing.number)
    losses = []
    for step in (50, 500, 999):
        monkeypatch.setattr(torch, "randint", lambda *_, step=step: torch.tensor([[step]]))
        torch.manual_seed(0)
        pictures, tokens = torch.zeros(1, 4, 8, 8), torch.zeros(1, 77)
        losses.append(
            diffusion.diffusion_loss(nothing, diffusion.NoiseSchedule(), pictures, tokens).item()
        )
    torch.manual_seed(0)
    error = torch.randn(1, 4, 8, 8).square().mean().item()
    clean, middle, noise = (loss / error for loss in losses)
    assert clean < 0.5 < middle < noise
    assert noise == pytest.approx(diffusion.MOST_WEIGHT)


def test_noisier_training_sees_later_timesteps():
    seen = []

    def note(pictures, timesteps, tokens):
        seen.append(timesteps)
        return torch.zeros_like(pictures)

    for noisiness in (1, 3):
        torch.manual_seed(0)
        pictures, tokens = torch.zeros(4000, 4, 1, 1), torch.zeros(4000, 77)
        diffusion.diffusion_loss(note, diffusion.NoiseSchedule(), pictures, tokens, noisiness)
    means = [timesteps.float().mean().item() for timesteps in seen]
    assert means == pytest.approx([500, 750], abs=20)  # of n uniform draws the highest: n / (n + 1)


def test_learning_rate_warms_up_stays_and_falls():
    plan = Phase(steps=1000, batch=1, shrink=1, chunks=1, chunk_every=1, decay=200)
    assert learning_rate(plan, 0, 0) < plan.learning_rate / 100
    assert learning_rate(plan, 500, 500) == plan.learning_rate
    falling = [learning_rate(plan, step, step) for step in range(800, 1001)]
    assert falling == sorted(falling, reverse=True)
    assert falling[-1] == 0
