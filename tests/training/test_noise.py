import pytest
import torch

from lib_rimo.training.noise import Noise
from lib_rimo.training.weighting import Weighting

LATENTS = torch.linspace(-2, 2, 4 * 8 * 8).view(4, 8, 8)


def drawn(**settings):
    generator = torch.Generator().manual_seed(7)
    shape = Noise(**settings)
    noise = shape.draw(LATENTS, generator)
    return noise, shape.perturbed(noise, generator)


def test_without_anything_it_is_plain_noise():
    plain = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(7))
    noise, hiding = drawn()
    assert torch.equal(noise, plain)
    assert hiding is noise


def test_an_offset_shifts_each_channel():
    plain, _ = drawn()
    for settings in ({}, {"adaptive_noise_scale": 0.5}, {"noise_offset_random_strength": True}):
        shifted, _ = drawn(noise_offset=0.5, **settings)
        difference = shifted - plain
        assert difference.flatten(1).std(dim=1).max() < 1e-6
        assert difference.abs().max() > 0
    _, still = drawn(noise_offset=0.5, adaptive_noise_scale=-10.0)
    assert torch.equal(still, plain)  # never less than none


def test_coarser_noise_moves_neighbours_together_at_the_same_deviation():
    plain, _ = drawn()
    noise, _ = drawn(multires_noise_iterations=6, multires_noise_discount=0.8)
    assert noise.std().item() == pytest.approx(1, abs=1e-5)

    def likeness(values):
        return (values[..., 1:] * values[..., :-1]).mean() / values.square().mean()

    assert likeness(noise) > likeness(plain) + 0.2


def test_perturbed_noise_leaves_the_target_alone():
    plain, _ = drawn()
    noise, hiding = drawn(ip_noise_gamma=0.1)
    assert torch.equal(noise, plain)
    assert 0.05 < (hiding - noise).std() < 0.2


@pytest.mark.parametrize("schedule", ["snr", "exponential", "constant"])
def test_outliers_count_less_by_huber_and_smooth_l1(schedule):
    alphas, timesteps = torch.tensor([0.5]), torch.tensor([300])
    small, large = torch.full((1, 1, 1, 1), 1e-3), torch.full((1, 1, 1, 1), 100.0)
    for loss_type in ("huber", "smooth_l1"):
        weighting = Weighting(loss_type=loss_type, huber_schedule=schedule)
        errors = [weighting.error(value, alphas, timesteps).item() for value in (small, large)]
        # A thousandfold difference is squared near 0 and not squared far from it.
        assert errors[1] / errors[0] < 1e5 * 1e5 / 10
        assert weighting.error(2 * large, alphas, timesteps).item() == pytest.approx(
            2 * errors[1], rel=0.02
        )
        assert weighting.error(2 * small, alphas, timesteps).item() == pytest.approx(
            4 * errors[0], rel=0.02
        )


def test_weights_multiply_and_are_none_when_all_is_off():
    alphas = torch.tensor([0.9, 0.5, 0.01])
    assert Weighting().weights(alphas, is_v=False) is None
    debiased = Weighting(debiased_estimation_loss=True).weights(alphas, is_v=False)
    snr = alphas / (1 - alphas)
    torch.testing.assert_close(debiased, snr.rsqrt())
    both = Weighting(debiased_estimation_loss=True, min_snr_gamma=5.0).weights(alphas, is_v=False)
    torch.testing.assert_close(both, debiased * snr.clamp(max=5) / snr)
