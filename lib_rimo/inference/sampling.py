"""Samplers in k-diffusion's convention, stepping through the noise levels as the WebUI does.

A picture x at noise level sigma is x0 + sigma * noise. Sources: Karras et al. 2022 (schedule,
Euler), k-diffusion (interpolation between the model's 1000 levels, ancestral steps), Lu et al.
2022 (DPM-Solver++ 2M), Song et al. 2020 (DDIM).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from lib_rimo.errors import UserError
from lib_rimo.inference.prompt import Conditioning
from lib_rimo.sd.checkpoint import Checkpoint
from lib_rimo.sd.schedule import TIMESTEPS, NoiseSchedule

OnStep = Callable[[int], None]


# -- noise levels -------------------------------------------------------------------------------


def uniform_sigmas(steps: int, schedule: NoiseSchedule) -> Tensor:
    """Evenly spaced timesteps from the last to the first, then 0: (steps + 1,)."""
    sigmas = schedule.sigma_at(torch.linspace(TIMESTEPS - 1, 0, steps))
    return torch.cat([sigmas, torch.zeros(1)])


def karras_sigmas(steps: int, schedule: NoiseSchedule, rho: float = 7.0) -> Tensor:
    """Karras et al. 2022, equation 5, then 0: (steps + 1,)."""
    low = schedule.sigmas[0].item() ** (1 / rho)
    high = schedule.sigmas[-1].item() ** (1 / rho)
    sigmas = (high + torch.linspace(0, 1, steps) * (low - high)) ** rho
    return torch.cat([sigmas, torch.zeros(1)])


# -- noise --------------------------------------------------------------------------------------


class SeededNoise:
    """Every picture's own random numbers: the start's and then, in order, each step's."""

    def __init__(self, seeds: Sequence[int], shape: tuple[int, ...]) -> None:
        self._generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        self._shape = shape

    def draw(self) -> Tensor:
        """Noise for all pictures, (B, *shape), on the CPU."""
        return torch.stack(
            [torch.randn(self._shape, generator=generator) for generator in self._generators]
        )


# -- the model ----------------------------------------------------------------------------------


class GuidedModel:
    """The UNet under classifier-free guidance, for a batch of pictures of one prompt.

    `positive` and `negative` hold the prompts of each step. `composed` holds several prompts in
    place of the positive one, of each step, with their weights: what each adds to the negative
    one is added up (Liu et al. 2022). `quantize_timesteps` is that of the settings.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        positive: Sequence[Conditioning],
        negative: Sequence[Conditioning],
        *,
        cfg_scale: float,
        size: tuple[int, int],
        composed: Sequence[tuple[Sequence[Conditioning], float]] = (),
        quantize_timesteps: bool = False,
        before_step: OnStep = lambda step: None,
    ) -> None:
        self.checkpoint = checkpoint
        self._composed = composed
        self.schedule = NoiseSchedule(zero_terminal_snr=checkpoint.zero_terminal_snr)
        self._positive, self._negative = positive, negative
        self._cfg_scale = cfg_scale
        self._quantize = quantize_timesteps
        width, height = size
        self._time_ids = torch.tensor([[height, width, 0, 0, height, width]])
        self._before_step = before_step
        self._step = 0

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The picture without noise, as the model sees it in x (B, 4, h, w) at this level."""
        timestep = self.schedule.timestep_of(sigma, quantize=self._quantize)
        in_scale = 1 / (sigma**2 + 1) ** 0.5
        if self.checkpoint.prediction_type == "v_prediction":
            skip, out_scale = 1 / (sigma**2 + 1), -sigma / (sigma**2 + 1) ** 0.5
        else:
            skip, out_scale = torch.ones(()), -sigma
        positive, negative = self._predict(x * in_scale, timestep)
        return self._guided(positive * out_scale + x * skip, negative * out_scale + x * skip)

    def predict_noise(self, x: Tensor, timestep: Tensor, alpha: float) -> Tensor:
        """The noise in x, which is sqrt(alpha) * x0 + sqrt(1 - alpha) * noise."""
        positive, negative = self._predict(x, timestep)
        output = self._guided(positive, negative)
        if self.checkpoint.prediction_type == "v_prediction":
            return float(alpha**0.5) * output + float((1 - alpha) ** 0.5) * x
        return output

    def _guided(self, positive: Tensor, negative: Tensor) -> Tensor:
        if self._cfg_scale == 1:
            return positive
        return negative + (positive - negative) * self._cfg_scale

    def _predict(self, x: Tensor, timestep: Tensor) -> tuple[Tensor, Tensor]:
        """What the UNet says to both prompts, (B, 4, h, w) each."""
        self._before_step(self._step)
        step = min(self._step, len(self._positive) - 1)
        self._step += 1
        positive, negative = self._positive[step], self._negative[step]
        if self._composed:
            base = self._unet(x, timestep, [negative])
            parts = ((self._unet(x, timestep, [part[step]]), w) for part, w in self._composed)
            return base + sum((output - base) * weight for output, weight in parts), base
        if self._cfg_scale == 1:
            output = self._unet(x, timestep, [positive])
            return output, output
        if positive.states.shape == negative.states.shape:
            first, second = self._unet(x, timestep, [positive, negative]).chunk(2)
            return first, second
        return self._unet(x, timestep, [positive]), self._unet(x, timestep, [negative])

    def _unet(self, x: Tensor, timestep: Tensor, prompts: list[Conditioning]) -> Tensor:
        """(len(prompts) * B, 4, h, w) outputs, prompt by prompt."""
        batch, unet = len(x), self.checkpoint.unet
        states = torch.cat([p.states.expand(batch, -1, -1) for p in prompts])
        added = None
        if self.checkpoint.family == "sdxl":
            pooled = [p.pooled.expand(batch, -1) for p in prompts if p.pooled is not None]
            times = self._time_ids.repeat(len(states), 1)
            added = {
                "text_embeds": torch.cat(pooled).to(unet.device, unet.dtype),
                "time_ids": times.to(unet.device, unet.dtype),
            }
        output = unet(
            x.repeat(len(prompts), 1, 1, 1).to(unet.device, unet.dtype),
            timestep.to(unet.device, torch.float32).expand(len(states)),
            encoder_hidden_states=states.to(unet.device, unet.dtype),
            added_cond_kwargs=added,
        ).sample
        result: Tensor = output.to(x.dtype)
        return result


# -- samplers -----------------------------------------------------------------------------------


def sample_euler(model: GuidedModel, noise: SeededNoise, sigmas: Tensor, on_step: OnStep) -> Tensor:
    """Euler's method along the probability flow."""
    x = noise.draw().to(model.checkpoint.device) * sigmas[0]
    for step, (sigma, following) in enumerate(pairwise(sigmas)):
        slope = (x - model.denoise(x, sigma)) / sigma
        x = x + slope * (following - sigma)
        on_step(step)
    return x


def sample_euler_ancestral(
    model: GuidedModel, noise: SeededNoise, sigmas: Tensor, on_step: OnStep
) -> Tensor:
    """Euler steps that go below the next level and add fresh noise up to it."""
    x = noise.draw().to(model.checkpoint.device) * sigmas[0]
    for step, (sigma, following) in enumerate(pairwise(sigmas)):
        denoised = model.denoise(x, sigma)
        up = torch.minimum(following, (following**2 * (sigma**2 - following**2) / sigma**2) ** 0.5)
        down = (following**2 - up**2) ** 0.5
        x = x + (x - denoised) / sigma * (down - sigma)
        if following > 0:
            x = x + noise.draw().to(x.device) * up
        on_step(step)
    return x


def sample_dpmpp_2m(
    model: GuidedModel, noise: SeededNoise, sigmas: Tensor, on_step: OnStep
) -> Tensor:
    """DPM-Solver++(2M): second order, from the present and the last denoised picture."""
    x = noise.draw().to(model.checkpoint.device) * sigmas[0]
    times = sigmas.log().neg()
    last_denoised: Tensor | None = None
    for step, (sigma, following) in enumerate(pairwise(sigmas)):
        denoised = model.denoise(x, sigma)
        width = times[step + 1] - times[step]
        direction = denoised
        if last_denoised is not None and following > 0:
            ratio = (times[step] - times[step - 1]) / width
            direction = (1 + 1 / (2 * ratio)) * denoised - (1 / (2 * ratio)) * last_denoised
        shrunk = times[step + 1].neg().exp() / times[step].neg().exp()
        x = shrunk * x - (-width).expm1() * direction
        last_denoised = denoised
        on_step(step)
    return x


def sample_ddim(model: GuidedModel, noise: SeededNoise, steps: int, on_step: OnStep) -> Tensor:
    """DDIM without added noise, on the WebUI's timesteps 1, 1 + 1000 // steps, ..."""
    alphas = model.schedule.alphas_cumprod
    timesteps = torch.arange(0, TIMESTEPS, TIMESTEPS // steps).add(1).clamp(max=TIMESTEPS - 1)
    x = noise.draw().to(model.checkpoint.device)
    for step, index in enumerate(range(len(timesteps) - 1, 0, -1)):
        alpha = float(alphas[timesteps[index]])
        following = float(alphas[timesteps[index - 1]])
        predicted = model.predict_noise(x, timesteps[index], alpha)
        denoised = (x - (1 - alpha) ** 0.5 * predicted) / alpha**0.5
        x = following**0.5 * denoised + (1 - following) ** 0.5 * predicted
        on_step(step)
    return x


@dataclass(frozen=True)
class Sampler:
    """A sampler under the WebUI's name, with its usual schedule."""

    name: str
    schedule: str  # "Karras", "Uniform", or "" for a sampler with timesteps of its own


SAMPLERS = {
    sampler.name: sampler
    for sampler in (
        Sampler("DPM++ 2M", "Karras"),
        Sampler("Euler a", "Uniform"),
        Sampler("Euler", "Uniform"),
        Sampler("DDIM", ""),
    )
}
SCHEDULES = {"Karras": karras_sigmas, "Uniform": uniform_sigmas}
_SIGMA_SAMPLERS = {
    "DPM++ 2M": sample_dpmpp_2m,
    "Euler a": sample_euler_ancestral,
    "Euler": sample_euler,
}


def find_sampler(name: str, schedule: str = "") -> tuple[str, str]:
    """(sampler, schedule) by the WebUI's names, the schedule also at the end of the sampler's.

    `DPM++ 2M Karras` is how WebUIs before 1.9 wrote DPM++ 2M with Karras' schedule. Raises
    UserError.
    """
    known = {sampler.lower(): sampler for sampler in SAMPLERS}
    words = name.strip().lower()
    for ending in SCHEDULES:
        if words.endswith(f" {ending.lower()}"):
            words, schedule = words.removesuffix(f" {ending.lower()}"), schedule or ending
    if words not in known:
        raise UserError(
            'There is no sampler "{name}"; there is {list}.', name=name, list=list(SAMPLERS)
        )
    sampler = SAMPLERS[known[words]]
    chosen = {kind.lower(): kind for kind in SCHEDULES}.get(schedule.lower())
    if schedule and schedule.lower() != "automatic" and chosen is None:
        raise UserError(
            'There is no schedule "{schedule}"; there is {list}.',
            schedule=schedule,
            list=list(SCHEDULES),
        )
    return sampler.name, (chosen or sampler.schedule) if sampler.schedule else ""


def sample(
    model: GuidedModel,
    noise: SeededNoise,
    *,
    sampler: str,
    schedule: str,
    steps: int,
    on_step: OnStep = lambda step: None,
) -> Tensor:
    """Draw latents (B, 4, h, w) from noise; `sampler` and `schedule` as `find_sampler` gives."""
    with torch.no_grad():
        if not schedule:
            return sample_ddim(model, noise, steps, on_step)
        sigmas = SCHEDULES[schedule](steps, model.schedule)
        return _SIGMA_SAMPLERS[sampler](model, noise, sigmas, on_step)


def steps_of(sampler: str, steps: int) -> int:
    """How many times a sampler calls the model: DDIM once less, as in the WebUI."""
    if SAMPLERS[sampler].schedule:
        return steps
    return len(range(0, TIMESTEPS, TIMESTEPS // steps)) - 1
