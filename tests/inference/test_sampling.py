import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler

from lib_rimo.errors import UserError
from lib_rimo.inference.prompt import encode_prompt
from lib_rimo.inference.sampling import (
    GuidedModel,
    SeededNoise,
    find_sampler,
    karras_sigmas,
    sample,
    steps_of,
    uniform_sigmas,
)
from lib_rimo.sd.schedule import NoiseSchedule
from tests.sd.narrow import narrow_checkpoint

# diffusers' schedulers with this numpy
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SHAPE = (4, 8, 8)
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SPREAD = 0.5  # of the pictures of the exact model


@pytest.fixture(scope="module", params=["sd1", "sdxl"])
def checkpoint(request):
    return narrow_checkpoint(request.param)


def guided(checkpoint, cfg_scale=3.0, positive="a cat", negative="a dog"):
    return GuidedModel(
        checkpoint,
        [encode_prompt(checkpoint, positive)],
        [encode_prompt(checkpoint, negative)],
        cfg_scale=cfg_scale,
        size=(64, 64),
    )


class ExactModel(GuidedModel):
    """Knows the answer for pictures that are normally distributed noise of width SPREAD."""

    def __init__(self, *, v_prediction=False):
        checkpoint = narrow_checkpoint("sd1")
        checkpoint.prediction_type = "v_prediction" if v_prediction else "epsilon"
        nothing = encode_prompt(checkpoint, "")
        super().__init__(checkpoint, [nothing], [nothing], cfg_scale=1, size=(64, 64))

    def _predict(self, x, timestep):
        alpha = 1 / (self.schedule.sigma_at(timestep.float()) ** 2 + 1)
        # x = sqrt(alpha) x0 + sqrt(1 - alpha) noise; the best guess of both is linear in x.
        variance = alpha * SPREAD**2 + 1 - alpha
        x0, noise = alpha**0.5 * SPREAD**2 / variance * x, (1 - alpha) ** 0.5 / variance * x
        if self.checkpoint.prediction_type == "v_prediction":
            noise = alpha**0.5 * noise - (1 - alpha) ** 0.5 * x0
        return noise, noise


def test_the_noise_levels_are_stable_diffusions():
    schedule = NoiseSchedule()
    assert schedule.sigmas[0].item() == pytest.approx(0.029167, abs=1e-6)
    assert schedule.sigmas[-1].item() == pytest.approx(14.614641, abs=1e-4)
    scheduler = DDIMScheduler(**BETAS)
    torch.testing.assert_close(
        schedule.alphas_cumprod, scheduler.alphas_cumprod, rtol=1e-5, atol=1e-6
    )
    rescaled = DDIMScheduler(**BETAS, rescale_betas_zero_snr=True).alphas_cumprod
    zero = NoiseSchedule(zero_terminal_snr=True).alphas_cumprod
    torch.testing.assert_close(zero, rescaled, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("timestep", [0.0, 0.25, 17.5, 998.75, 999.0])
def test_timesteps_and_levels_are_each_others_inverse(timestep):
    schedule = NoiseSchedule()
    sigma = schedule.sigma_at(torch.tensor(timestep))
    assert schedule.timestep_of(sigma).item() == pytest.approx(timestep, abs=2e-3)


@pytest.mark.parametrize(
    ("timestep", "nearest"), [(0.0, 0), (0.4, 0), (17.6, 18), (998.75, 999), (999.0, 999)]
)
def test_quantized_timesteps_are_the_nearest_whole_ones(timestep, nearest):
    schedule = NoiseSchedule()
    sigma = schedule.sigma_at(torch.tensor(timestep))
    assert schedule.timestep_of(sigma, quantize=True).item() == nearest
    beyond = schedule.sigmas[-1] * 2
    assert schedule.timestep_of(beyond, quantize=True).item() == 999


def test_karras_levels_are_diffusers():
    schedule = NoiseSchedule()
    scheduler = EulerDiscreteScheduler(**BETAS, use_karras_sigmas=True)
    scheduler.set_timesteps(12)
    sigmas = karras_sigmas(12, schedule)
    torch.testing.assert_close(sigmas, scheduler.sigmas, rtol=1e-5, atol=1e-6)
    timesteps = torch.stack([schedule.timestep_of(sigma) for sigma in sigmas[:-1]])
    torch.testing.assert_close(timesteps, scheduler.timesteps, rtol=1e-3, atol=1e-2)


def test_uniform_levels_go_from_the_last_timestep_to_the_first():
    schedule = NoiseSchedule()
    sigmas = uniform_sigmas(4, schedule)
    torch.testing.assert_close(sigmas[[0, 3]], schedule.sigmas[[999, 0]])
    torch.testing.assert_close(sigmas[1], schedule.sigmas[666])
    assert sigmas[-1] == 0


@pytest.mark.parametrize("v_prediction", [False, True])
@pytest.mark.parametrize(
    ("sampler", "schedule", "tolerance"),
    [("DPM++ 2M", "Karras", 0.01), ("Euler", "Uniform", 0.05), ("DDIM", "", 0.05)],
)
def test_deterministic_samplers_follow_the_exact_path(sampler, schedule, tolerance, v_prediction):
    noise = SeededNoise([7], SHAPE).draw()
    model = ExactModel(v_prediction=v_prediction)
    x = sample(model, SeededNoise([7], SHAPE), sampler=sampler, schedule=schedule, steps=100)
    # From N(0, 14.6^2 + SPREAD^2) each number shrinks to the same quantile of N(0, SPREAD^2).
    torch.testing.assert_close(x, noise * SPREAD, rtol=tolerance, atol=tolerance * SPREAD)


def test_the_second_order_sampler_needs_fewer_steps():
    noise = SeededNoise([7], SHAPE).draw() * SPREAD

    def error(sampler, steps):
        x = sample(
            ExactModel(), SeededNoise([7], SHAPE), sampler=sampler, schedule="Karras", steps=steps
        )
        return (x - noise).norm()

    assert error("DPM++ 2M", 20) < error("Euler", 20) / 4
    assert error("DPM++ 2M", 40) < error("DPM++ 2M", 20) / 2


def test_ancestral_sampling_draws_from_the_same_distribution():
    x = sample(
        ExactModel(),
        SeededNoise(range(50), SHAPE),
        sampler="Euler a",
        schedule="Uniform",
        steps=500,
    )
    assert x.std().item() == pytest.approx(SPREAD, rel=0.05)
    once = sample(
        ExactModel(), SeededNoise([7], SHAPE), sampler="Euler", schedule="Uniform", steps=100
    )
    assert abs(torch.corrcoef(torch.stack([x[7].flatten(), once[0].flatten()]))[0, 1]) < 0.9


def follow(scheduler, checkpoint, model, steps):
    """The same picture drawn with one of diffusers' schedulers."""
    scheduler.set_timesteps(steps)
    x = SeededNoise([7], SHAPE).draw() * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        scaled = scheduler.scale_model_input(x, timestep)
        positive, negative = model._predict(scaled, torch.as_tensor(timestep))
        guided_noise = negative + 3.0 * (positive - negative)
        x = scheduler.step(guided_noise, timestep, x).prev_sample
    return x


def test_euler_agrees_with_diffusers(checkpoint):
    scheduler = EulerDiscreteScheduler(
        **BETAS, use_karras_sigmas=True, timestep_spacing="linspace", interpolation_type="linear"
    )
    theirs = follow(scheduler, checkpoint, guided(checkpoint), 6)
    ours = sample(
        guided(checkpoint), SeededNoise([7], SHAPE), sampler="Euler", schedule="Karras", steps=6
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_dpmpp_2m_agrees_with_diffusers(checkpoint):
    scheduler = DPMSolverMultistepScheduler(
        **BETAS, use_karras_sigmas=True, algorithm_type="dpmsolver++", timestep_spacing="linspace"
    )
    theirs = follow(scheduler, checkpoint, guided(checkpoint), 8)
    ours = sample(
        guided(checkpoint), SeededNoise([7], SHAPE), sampler="DPM++ 2M", schedule="Karras", steps=8
    )
    # diffusers rounds the timesteps that it shows to the model
    assert (ours - theirs).norm() < 0.02 * theirs.norm()


def test_ddim_agrees_with_diffusers(checkpoint):
    scheduler = DDIMScheduler(**BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    scheduler.set_timesteps(10)
    model, x = guided(checkpoint), SeededNoise([7], SHAPE).draw()
    for timestep in scheduler.timesteps[:-1]:  # the WebUI leaves the last step out
        noise = model.predict_noise(x, timestep, float(scheduler.alphas_cumprod[timestep]))
        x = scheduler.step(noise, timestep, x).prev_sample
    ours = sample(
        guided(checkpoint), SeededNoise([7], SHAPE), sampler="DDIM", schedule="", steps=10
    )
    torch.testing.assert_close(ours, x, rtol=1e-3, atol=1e-3)
    assert steps_of("DDIM", 10) == 9


def test_a_picture_depends_on_its_own_seed_alone(checkpoint):
    settings = {"sampler": "Euler a", "schedule": "Uniform", "steps": 3}
    together = sample(guided(checkpoint), SeededNoise([1, 2], SHAPE), **settings)
    alone = sample(guided(checkpoint), SeededNoise([2], SHAPE), **settings)
    torch.testing.assert_close(together[1:], alone, rtol=1e-3, atol=1e-3)


def test_prompts_of_other_lengths_are_guided_too(checkpoint):
    settings = {"sampler": "Euler", "schedule": "Karras", "steps": 2}
    long = sample(guided(checkpoint, positive="a cat BREAK"), SeededNoise([1], SHAPE), **settings)
    two = guided(checkpoint, positive="a cat BREAK a cat")
    assert two._positive[0].states.shape[1] == 154
    x = sample(two, SeededNoise([1], SHAPE), **settings)
    assert torch.isfinite(x).all()
    assert not torch.equal(x, long)


def test_samplers_are_found_by_the_webuis_names():
    assert find_sampler("DPM++ 2M Karras") == ("DPM++ 2M", "Karras")
    assert find_sampler("DPM++ 2M", "Automatic") == ("DPM++ 2M", "Karras")
    assert find_sampler("DPM++ 2M", "Uniform") == ("DPM++ 2M", "Uniform")
    assert find_sampler("euler a") == ("Euler a", "Uniform")
    assert find_sampler("DDIM", "Karras") == ("DDIM", "")
    with pytest.raises(UserError, match="no sampler"):
        find_sampler("Nonsense")
    with pytest.raises(UserError, match="no schedule"):
        find_sampler("Euler", "Nonsense")
