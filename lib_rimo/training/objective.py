"""What the network learns: to undo noise. Schedules, targets and weights as kohya's trainer has.

All that is random comes from the seed, the step and a picture's slot in the batch of all
processes, so it is the same after a resume and for any number of processes.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lib_rimo.sd.schedule import TIMESTEPS, alphas_cumprod, shares
from lib_rimo.training.masking import Masking
from lib_rimo.training.noise import Noise
from lib_rimo.training.weighting import Weighting


@dataclass(frozen=True)
class Noised:
    """Latents with noise added, and what the model should say of them; all (B, C, h, w)."""

    latents: Tensor
    timesteps: Tensor  # (B,)
    target: Tensor


@dataclass(frozen=True)
class PriorPrediction:
    """What the base model predicts without the LoRA, for n pictures of a batch."""

    rows: Tensor
    """(n,): which of the batch they are."""
    prediction: Tensor
    """(n, C, h, w)"""
    weights: Tensor
    """(n, 1, h, w): how much a difference to it counts."""
    alone: Tensor
    """(m,): of which of the batch nothing else counts."""


@dataclass
class Objective:
    """The denoising objective of a model that predicts noise ("epsilon") or "v_prediction"."""

    prediction_type: str
    seed: int
    zero_terminal_snr: bool = False
    min_timestep: int = 0
    max_timestep: int = TIMESTEPS
    """Timesteps are drawn from the first up to but not the second, as in kohya's trainer."""
    prior_prediction_min_timestep: int = 0
    """The first for pictures of which only the base model's prediction is kept, up to the end."""
    noise: Noise = field(default_factory=Noise)
    weighting: Weighting = field(default_factory=Weighting)
    masking: Masking = field(default_factory=Masking)

    def __post_init__(self) -> None:
        self.alphas_cumprod = alphas_cumprod(self.zero_terminal_snr)

    def add_noise(
        self,
        latents: Tensor,
        step: int,
        slots: Sequence[int],
        is_prior: Sequence[bool] | None = None,
    ) -> Noised:
        """Draw noise and a timestep for each picture; `latents` (B, C, h, w) are scaled."""
        noises, perturbed, timesteps = [], [], []
        for slot, latent, prior in zip(
            slots, latents, is_prior or [False] * len(slots), strict=True
        ):
            bounds = self.min_timestep, self.max_timestep
            if prior:
                bounds = self.prior_prediction_min_timestep, TIMESTEPS
            generator = torch.Generator().manual_seed(
                random.Random(f"{self.seed} noise {step} {slot}").getrandbits(63)
            )
            noises.append(self.noise.draw(latent, generator))
            timesteps.append(torch.randint(*bounds, (), generator=generator))
            perturbed.append(self.noise.perturbed(noises[-1], generator))
        noise, hiding = (torch.stack(part).to(latents) for part in (noises, perturbed))
        timestep = torch.stack(timesteps)
        signal, strength = shares(self.alphas_cumprod[timestep].to(latents))
        target = noise
        if self.prediction_type == "v_prediction":
            target = signal * noise - strength * latents
        return Noised(signal * latents + strength * hiding, timestep.to(latents.device), target)

    def loss(
        self,
        prediction: Tensor,
        noised: Noised,
        weights: Tensor,
        masks: Tensor | None,
        prior: PriorPrediction | None = None,
    ) -> Tensor:
        """Mean squared error, weighted by picture (B,), mask (B, 1, h, w) and timestep.

        The difference to a `prior` is added by its own weights.
        """
        alphas = self.alphas_cumprod.to(noised.timesteps.device)[noised.timesteps]
        difference = prediction.float() - noised.target.float()
        error = self.weighting.error(difference, alphas, noised.timesteps)
        if masks is not None:
            error = error * self.masking.inside(masks.to(error))
        if prior is not None:
            rows = prior.rows
            difference = prediction.float()[rows] - prior.prediction.float()
            to_prior = self.weighting.error(difference, alphas[rows], noised.timesteps[rows])
            error = error.index_fill(0, prior.alone, 0.0)
            error = error.index_add(0, rows, to_prior * prior.weights.to(error))
        by_picture = error.mean(dim=(1, 2, 3)) * weights.to(error)
        of_timestep = self.weighting.weights(alphas, is_v=self.prediction_type == "v_prediction")
        if of_timestep is not None:
            by_picture = by_picture * of_timestep
        return by_picture.mean()
