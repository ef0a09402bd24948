"""What the network learns: to undo noise. Schedules, targets and weights as kohya's trainer has.

All that is random comes from the seed, the step and a picture's slot in the batch of all
processes, so it is the same after a resume and for any number of processes.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lib_rimo.sd.schedule import TIMESTEPS, alphas_cumprod


@dataclass(frozen=True)
class Noised:
    """Latents with noise added, and what the model should say of them; all (B, C, h, w)."""

    latents: Tensor
    timesteps: Tensor  # (B,)
    target: Tensor


@dataclass
class Objective:
    """The denoising objective of a model that predicts noise ("epsilon") or "v_prediction"."""

    prediction_type: str
    seed: int
    zero_terminal_snr: bool = False
    min_snr_gamma: float | None = None
    noise_offset: float = 0.0

    def __post_init__(self) -> None:
        self.alphas_cumprod = alphas_cumprod(self.zero_terminal_snr)

    def add_noise(self, latents: Tensor, step: int, slots: Sequence[int]) -> Noised:
        """Draw noise and a timestep for each picture; `latents` (B, C, h, w) are scaled."""
        noises, timesteps = [], []
        for slot in slots:
            draw = torch.Generator().manual_seed(
                random.Random(f"{self.seed} noise {step} {slot}").getrandbits(63)
            )
            noise = torch.randn(latents.shape[1:], generator=draw)
            if self.noise_offset:
                noise = noise + self.noise_offset * torch.randn(
                    latents.shape[1], 1, 1, generator=draw
                )
            noises.append(noise)
            timesteps.append(torch.randint(TIMESTEPS, (), generator=draw))
        noise = torch.stack(noises).to(latents)
        timestep = torch.stack(timesteps)
        alpha = self.alphas_cumprod[timestep].to(latents).view(-1, 1, 1, 1)
        signal, strength = alpha.sqrt(), (1 - alpha).sqrt()
        target = noise
        if self.prediction_type == "v_prediction":
            target = signal * noise - strength * latents
        return Noised(signal * latents + strength * noise, timestep.to(latents.device), target)

    def loss(
        self, prediction: Tensor, noised: Noised, weights: Tensor, masks: Tensor | None
    ) -> Tensor:
        """Mean squared error, weighted by picture (B,), mask (B, 1, h, w) and signal-to-noise."""
        error = (prediction.float() - noised.target.float()).square()
        if masks is not None:
            error = error * masks.to(error)
        by_picture = error.mean(dim=(1, 2, 3)) * weights.to(error)
        if self.min_snr_gamma:
            by_picture = by_picture * self._snr_weight(noised.timesteps)
        return by_picture.mean()

    def _snr_weight(self, timesteps: Tensor) -> Tensor:
        """min(SNR, gamma) over what the prediction type already weighs by (arXiv:2303.09556)."""
        assert self.min_snr_gamma
        alpha = self.alphas_cumprod.to(timesteps.device)[timesteps]
        snr = alpha / (1 - alpha)
        inherent = snr + 1 if self.prediction_type == "v_prediction" else snr.clamp(min=1e-8)
        return snr.clamp(max=self.min_snr_gamma) / inherent
