"""What the base model predicts without the LoRA: held on to outside of the mask."""

import dataclasses

import pytest
import torch
from PIL import Image

from lib_rimo.lora.files import read_lora
from lib_rimo.training.caption_encoder import CaptionEncoder
from lib_rimo.training.data.dataset import Batch
from lib_rimo.training.denoiser import CALLS_BEFORE, Denoiser
from lib_rimo.training.events import CommandFolder
from lib_rimo.training.jobs.job import run_job, training_folder
from lib_rimo.training.masking import Masking
from lib_rimo.training.network.layers import Form
from lib_rimo.training.network.network import Network, Rank
from lib_rimo.training.objective import Objective
from lib_rimo.training.prior import Prior
from tests.sd.narrow import narrow_checkpoint

MASKING = Masking(masked_prior_preservation_weight=0.5)


def batch_of(masks, is_prior=None):
    count = len(masks)
    sizes = torch.tensor([[64, 64]] * count)
    return Batch(
        latents=torch.randn(count, 4, 8, 8),
        captions=["rimochan, red"] * count,
        loss_weights=torch.ones(count),
        masks=masks,
        original_sizes=sizes,
        crop_top_lefts=torch.zeros_like(sizes),
        target_sizes=sizes,
        is_prior=is_prior or [False] * count,
        slots=list(range(count)),
        pictures=[],
    )


def half_masks(count=2):
    masks = torch.zeros(count, 1, 8, 8)
    masks[..., :4] = 1
    return masks


def network_over(checkpoint, network_type="lora"):
    """A network that changes something, in the text encoders too."""
    network = Network(
        checkpoint.family,
        checkpoint.unet,
        checkpoint.text_encoders,
        lambda block: Rank(4, 4.0),
        form=Form(network_type),
    )
    torch.manual_seed(1)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network


@pytest.mark.parametrize(
    ("family", "network_type"),
    [("sd1", "lora"), ("sd1", "loha"), ("sd2", "lora"), ("sdxl", "lora")],
)
def test_the_prior_is_what_the_model_without_a_network_predicts(family, network_type):
    checkpoint = narrow_checkpoint(family)
    batch = batch_of(half_masks(4))
    timesteps = torch.tensor([10, 300, 700, 999])
    plain = CaptionEncoder(checkpoint, trained=False)
    with torch.no_grad():
        inputs = batch.latents, timesteps, *plain.inputs(batch, torch.device("cpu"))
        expected = [Denoiser(plain)(*(part[first::2] for part in inputs)) for first in (0, 1)]
    network = network_over(checkpoint, network_type)
    trained = CaptionEncoder(checkpoint)
    with_network = Denoiser(trained)(
        batch.latents, timesteps, *trained.inputs(batch, torch.device("cpu"))
    )
    prior = Prior(trained, network, MASKING, pytest.fail)
    for step, rows in ((0, [0, 2]), (1, [1, 3]), (2, [0, 2])):
        found = prior.predict(batch, step, batch.latents, timesteps, is_replayed=False)
        assert found is not None
        assert found.rows.tolist() == rows
        assert torch.equal(found.prediction, expected[step % 2])
        assert found.weights[0, 0, 0].tolist() == [0.0] * 4 + [1.0] * 4  # twice the weight
    # And the network is there again.
    again = Denoiser(trained)(batch.latents, timesteps, *trained.inputs(batch, torch.device("cpu")))
    assert torch.equal(again, with_network)
    assert not torch.allclose(with_network[0], expected[0][0], atol=1e-2)


def test_pictures_without_an_outside_cost_nothing():
    checkpoint = narrow_checkpoint("sd1")
    caption_encoder = CaptionEncoder(checkpoint)
    prior = Prior(caption_encoder, network_over(checkpoint), MASKING, pytest.fail)
    masks = half_masks()
    masks[0] = 1
    batch = batch_of(masks)
    arguments = batch.latents, torch.tensor([1, 2])
    assert prior.predict(batch, 0, *arguments, is_replayed=False) is None
    found = prior.predict(batch, 1, *arguments, is_replayed=False)
    assert found is not None
    assert found.rows.tolist() == [1]
    whole = dataclasses.replace(batch, masks=None)
    assert prior.predict(whole, 1, *arguments, is_replayed=False) is None


def test_a_recording_is_made_of_the_model_without_the_network(monkeypatch):
    checkpoint = narrow_checkpoint("sd1")
    caption_encoder, network = CaptionEncoder(checkpoint), network_over(checkpoint)
    prior = Prior(caption_encoder, network, MASKING, pytest.fail)
    recorded = []

    def record(module, sample, **_options):
        assert not torch.is_grad_enabled()
        assert not any(parameter.requires_grad for parameter in module.parameters())
        recorded.append(sample[0].shape)

    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 1))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", record)
    checkpoint.unet.requires_grad_(False)
    for encoder in checkpoint.text_encoders:
        encoder.requires_grad_(False)
    batch = batch_of(half_masks())
    for step in range(CALLS_BEFORE + 2):
        prior.predict(batch, step, batch.latents, torch.tensor([1, 2]), is_replayed=True)
    assert recorded == [(1, 4, 8, 8)]


def test_outside_of_the_mask_differences_to_the_prior_count():
    objective = Objective("epsilon", seed=0, masking=MASKING)
    masks = half_masks()
    batch = batch_of(masks)
    noised = objective.add_noise(batch.latents, 0, [0, 1])
    checkpoint = narrow_checkpoint("sd1")
    caption_encoder = CaptionEncoder(checkpoint)
    prior = Prior(caption_encoder, network_over(checkpoint), MASKING, pytest.fail)
    found = prior.predict(batch, 0, noised.latents, noised.timesteps, is_replayed=False)
    assert found is not None
    best = noised.target.clone()
    best[0, ..., 4:] = found.prediction[0, ..., 4:]
    best[1, ..., 4:] = 50  # of this picture it is not the turn
    arguments = noised, torch.ones(2), masks
    assert objective.loss(best, *arguments, found).item() == 0
    off = best.clone()
    off[0, ..., 4:] += 2  # a square of 4 over half of one of two pictures: half the weight, twice
    assert objective.loss(off, *arguments, found).item() == pytest.approx(1)
    assert objective.loss(off, *arguments).item() == 0


def test_a_picture_of_the_prior_alone_teaches_nothing_else():
    objective = Objective("epsilon", seed=0, prior_prediction_min_timestep=998)
    batch = batch_of(half_masks(3), [True, False, True])
    drawn = [
        objective.add_noise(batch.latents, step, batch.slots, batch.is_prior).timesteps.tolist()
        for step in range(10)
    ]
    assert {time for times in drawn for time in times[::2]} == {998, 999}
    assert min(times[1] for times in drawn) < 900
    noised = objective.add_noise(batch.latents, 0, batch.slots, batch.is_prior)
    checkpoint = narrow_checkpoint("sd1")
    masking = Masking(prior_prediction_weight=3.0)
    prior = Prior(CaptionEncoder(checkpoint), network_over(checkpoint), masking, pytest.fail)
    found = prior.predict(batch, 0, noised.latents, noised.timesteps, is_replayed=False)
    assert found is not None
    assert found.rows.tolist() == found.alone.tolist() == [0, 2]
    best = noised.target.clone()
    best[::2] = found.prediction
    arguments = noised, torch.ones(3), batch.masks
    assert objective.loss(best, *arguments, found).item() == 0
    best[2, ..., 4:] += 1  # over a half of one of three, outside of its mask too
    assert objective.loss(best, *arguments, found).item() == pytest.approx(3 / 6)


@pytest.fixture
def cut_out(options, tmp_path):
    """The same training on pictures of which a third is transparent."""
    folder = tmp_path / "cut out"
    folder.mkdir()
    for number in range(3):
        image = Image.effect_noise((64, 64), 90 + number).convert("RGBA")
        image.paste((0, 0, 0, 0), (0, 0, 20 + number, 64))
        image.save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text("rimochan, 1girl")
    return dataclasses.replace(
        options,
        train_data_dir=str(folder),
        masked_training=True,
        masked_prior_preservation_weight=1.0,
        prior_prediction_rate=0.3,
        prior_prediction_prompts="scenes",
        network_dropout=0.1,
        tlora_min_rank=2,
    )


def losses_of(options, output, **changes):
    told = []
    changed = dataclasses.replace(options, output_dir=str(output), **changes)
    path = run_job(changed, [told.append], resume=changes.get("resume", False))
    return path, [event["loss"] for event in told if event["kind"] == "progress"]


def test_a_training_with_the_prior_goes_on_after_a_stop_as_if_there_had_been_none(
    cut_out, tmp_path
):
    whole, losses = losses_of(cut_out, tmp_path / "whole")
    _, same = losses_of(cut_out, tmp_path / "saving", gradient_checkpointing=True)
    assert same == pytest.approx(losses, rel=1e-4)

    stopped = dataclasses.replace(cut_out, output_dir=str(tmp_path / "stopped"))

    def stop(event):
        if event["kind"] == "progress" and event["step"] == 3:
            CommandFolder(training_folder(stopped) / "commands").give("stop")

    assert run_job(stopped, [stop]) is None
    resumed = run_job(stopped, resume=True)
    ours, theirs = read_lora(whole).tensors, read_lora(resumed).tensors
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
