"""Replaying a step on a GPU: when it is recorded, what happens where it cannot be, its results."""

import pytest
import torch

from lib_rimo.training import denoiser
from lib_rimo.training.caption_encoder import CaptionEncoder
from lib_rimo.training.denoiser import CALLS_BEFORE, Denoiser, Replay
from lib_rimo.training.jobs.job import run_job
from tests.sd.narrow import narrow_checkpoint


@pytest.fixture
def plain():
    return Denoiser(CaptionEncoder(narrow_checkpoint("sd1"))).train()


def inputs(width=8):
    torch.manual_seed(1)
    tokens = torch.randint(0, 49408, (2, 1, 77))
    return torch.randn(2, 4, 16, width), torch.tensor([30, 700]), tokens


def record_with(monkeypatch, record):
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 1))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", record)


def test_each_shape_is_recorded_once_after_some_calls(plain, monkeypatch):
    recorded = []

    def record(module, sample, **_options):
        recorded.append(tuple(sample[0].shape))
        assert module.training
        assert list(module.parameters()) == list(plain.parameters())

    record_with(monkeypatch, record)
    replay = Replay(plain, pytest.fail)
    expected = {width: plain(*inputs(width)) for width in (8, 16)}
    for width in (8, 16) * (CALLS_BEFORE + 3):
        assert torch.equal(replay(*inputs(width)), expected[width])
        if max(replay._calls.values()) <= CALLS_BEFORE:
            assert not recorded
    assert recorded == [(2, 4, 16, 8), (2, 4, 16, 16)]


def test_what_cannot_be_recorded_runs_plainly_and_is_told_once(plain, monkeypatch):
    def record(*_arguments, **_options):
        raise RuntimeError("no capture")

    record_with(monkeypatch, record)
    told = []
    replay = Replay(plain, told.append)
    for width in (8, 16) * (CALLS_BEFORE + 2):
        assert torch.equal(replay(*inputs(width)), plain(*inputs(width)))
    assert len(told) == 1
    assert "no capture" in told[0].text()


def test_not_more_shapes_are_recorded_than_memory_should_bear(plain, monkeypatch):
    recorded = []
    record_with(monkeypatch, lambda module, sample, **_: recorded.append(sample[0].shape))
    monkeypatch.setattr(denoiser, "MOST_RECORDINGS", 1)
    replay = Replay(plain, pytest.fail)
    for width in (8, 16) * (CALLS_BEFORE + 2):
        replay(*inputs(width))
    assert len(recorded) == 1


def test_gradients_of_the_batches_before_are_out_of_a_replays_way(plain, monkeypatch):
    trained = plain.unet.conv_in.weight.requires_grad_()
    record_with(monkeypatch, lambda *_arguments, **_options: None)
    replay = Replay(plain, pytest.fail)
    for _ in range(CALLS_BEFORE + 1):
        replay(*inputs())
    theirs = trained.grad = torch.ones_like(trained)
    replay(*inputs())
    theirs.zero_()
    assert trained.grad.eq(1).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
@pytest.mark.parametrize(("checkpointing", "accumulation"), [(False, 1), (True, 1), (False, 2)])
def test_replayed_steps_learn_the_same(
    options, monkeypatch, precision, checkpointing, accumulation
):
    options.max_train_steps = 20
    options.optimizer_type, options.optimizer_args = "AdamW", ["eps=1e-4"]
    options.device, options.mixed_precision = "auto", precision
    options.gradient_checkpointing = checkpointing
    options.gradient_accumulation_steps = accumulation
    losses = {}
    for most in (0, 8):
        monkeypatch.setattr(denoiser, "MOST_RECORDINGS", most)
        options.output_name = f"most-{most}"
        told = []
        run_job(options, [told.append])
        assert not [event for event in told if event["kind"] == "warning"]
        losses[most] = [event["loss"] for event in told if event["kind"] == "progress"]
    # A GPU adds up in any order, so no two runs are alike; other noise would change it by tenths.
    assert losses[8] == pytest.approx(losses[0], rel=1e-2)
