import random

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr

from lib_rimo.sd.schedule import alphas_cumprod
from lib_rimo.training.masking import Masking
from lib_rimo.training.noise import Noise
from lib_rimo.training.objective import Objective
from lib_rimo.training.weighting import Weighting


@pytest.fixture
def schedule():
    return DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        prediction_type="v_prediction",
    )


def test_noise_and_velocity_are_those_of_the_field(schedule):
    objective = Objective("v_prediction", seed=3)
    latents = torch.randn(2, 4, 8, 8)
    noised = objective.add_noise(latents, step=7, slots=[0, 1])
    alpha = objective.alphas_cumprod[noised.timesteps].view(-1, 1, 1, 1)
    noise = (noised.latents - alpha.sqrt() * latents) / (1 - alpha).sqrt()
    expected = schedule.add_noise(latents, noise, noised.timesteps)
    torch.testing.assert_close(noised.latents, expected, rtol=1e-4, atol=1e-5)
    velocity = schedule.get_velocity(latents, noise, noised.timesteps)
    torch.testing.assert_close(noised.target, velocity, rtol=1e-3, atol=1e-3)


def test_zero_terminal_snr_is_diffusers_rescaling():
    rescaled = DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        rescale_betas_zero_snr=True,
    )
    ours = alphas_cumprod(zero_terminal_snr=True)
    assert ours[-1] == 0
    torch.testing.assert_close(ours[:-1], rescaled.alphas_cumprod[:-1], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_min_snr_weighs_by_the_smaller_of_snr_and_gamma(schedule, prediction_type):
    weighed = Objective(prediction_type, seed=0, weighting=Weighting(min_snr_gamma=5.0))
    plain = Objective(prediction_type, seed=0)
    latents = torch.randn(1, 4, 8, 8)
    for step in range(5):
        noised = plain.add_noise(latents, step, [0])
        prediction = torch.zeros_like(latents)
        ratio = weighed.loss(prediction, noised, torch.ones(1), None) / plain.loss(
            prediction, noised, torch.ones(1), None
        )
        snr = compute_snr(schedule, noised.timesteps)
        expected = snr.clamp(max=5) / (snr + (prediction_type == "v_prediction"))
        assert ratio.item() == pytest.approx(expected.item(), rel=1e-4)


def test_a_gamma_of_zero_is_off():
    noised = Objective("epsilon", seed=0).add_noise(torch.randn(1, 4, 8, 8), 0, [0])
    losses = [
        Objective("epsilon", seed=0, weighting=Weighting(min_snr_gamma=gamma)).loss(
            torch.zeros(1, 4, 8, 8), noised, torch.ones(1), None
        )
        for gamma in (None, 0.0)
    ]
    assert losses[0] == losses[1] > 0


def test_masked_parts_do_not_count():
    objective = Objective("epsilon", seed=0)
    noised = objective.add_noise(torch.zeros(1, 4, 8, 8), 0, [0])
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :4] = 1
    prediction = noised.target.clone()
    prediction[..., 4:] += 100
    assert objective.loss(prediction, noised, torch.ones(1), mask).item() == 0
    assert objective.loss(prediction, noised, torch.ones(1), None).item() > 1000


def test_the_draw_depends_on_seed_step_and_slot_only():
    noise = Noise(noise_offset=0.1, multires_noise_iterations=3, ip_noise_gamma=0.1)
    objective = Objective("epsilon", seed=5, noise=noise)
    latents = torch.zeros(2, 4, 8, 8)
    both = objective.add_noise(latents, 9, [0, 1])
    second = Objective("epsilon", seed=5, noise=noise).add_noise(latents[1:], 9, [1])
    assert torch.equal(both.target[1:], second.target)
    assert torch.equal(both.timesteps[1:], second.timesteps)
    for other in (
        objective.add_noise(latents, 10, [0, 1]),
        Objective("epsilon", seed=6, noise=noise).add_noise(latents, 9, [0, 1]),
    ):
        assert not torch.equal(both.target, other.target)


def test_timesteps_are_drawn_between_the_two_bounds():
    latents, slots = torch.zeros(64, 4, 1, 1), range(64)
    bounded = Objective("epsilon", seed=1, min_timestep=300, max_timestep=303)
    assert set(bounded.add_noise(latents, 0, slots).timesteps.tolist()) == {300, 301, 302}
    last = Objective("epsilon", seed=1, min_timestep=999)
    assert set(last.add_noise(latents, 0, slots).timesteps.tolist()) == {999}


def test_bounds_that_leave_everything_in_draw_what_none_would():
    """Losses of trainings without the options stay what they were, to the bit."""
    drawn = Objective("epsilon", seed=5).add_noise(torch.zeros(2, 4, 1, 1), 3, [0, 1])
    generator = torch.Generator().manual_seed(random.Random("5 noise 3 1").getrandbits(63))
    noise = torch.randn(4, 1, 1, generator=generator)
    assert drawn.target[1].equal(noise)
    assert drawn.timesteps[1] == torch.randint(1000, (), generator=generator)


def test_what_lies_outside_counts_by_its_weight_and_small_subjects_like_large_ones():
    noised = Objective("epsilon", seed=0).add_noise(torch.zeros(1, 4, 8, 8), 0, [0])
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :2] = 1  # a quarter
    inside, outside = noised.target.clone(), noised.target.clone()
    inside[..., :2] += 1
    outside[..., 2:] += 1

    def loss(prediction, **masking):
        objective = Objective("epsilon", seed=0, masking=Masking(**masking))
        return objective.loss(prediction, noised, torch.ones(1), mask).item()

    assert loss(inside) == pytest.approx(0.25)
    assert loss(outside, unmasked_weight=0.1) == pytest.approx(0.075)
    assert loss(inside, normalize_masked_area_loss=True) == pytest.approx(1)
    both = {"unmasked_weight": 0.1, "normalize_masked_area_loss": True}
    assert loss(inside, **both) + loss(outside, **both) == pytest.approx(1)
