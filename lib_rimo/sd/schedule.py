"""The noise schedule that Stable Diffusion models are trained on, for training and drawing alike.

A picture x at noise level sigma is x0 + sigma * noise; at a timestep it is
sqrt(alpha) * x0 + sqrt(1 - alpha) * noise.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lib_rimo.sd.family import TIMESTEPS as TIMESTEPS

BETA_START, BETA_END = 0.00085, 0.0120

# What drawing takes for the signal at the last step where training has none at all: the WebUI's.
TERMINAL_ALPHA = 4.8973451890853435e-08


def betas() -> Tensor:
    """The variance that each timestep adds, (1000,) in float64."""
    return torch.linspace(BETA_START**0.5, BETA_END**0.5, TIMESTEPS, dtype=torch.float64) ** 2


def alphas_cumprod(zero_terminal_snr: bool = False) -> Tensor:
    """The signal's share of the variance at each timestep, (1000,) in float32.

    With `zero_terminal_snr` its square root is shifted and scaled to end at 0 and begin where it
    did (Lin et al. 2023, arXiv:2305.08891, algorithm 1).
    """
    alphas = (1 - betas()).cumprod(0)
    if zero_terminal_snr:
        root = alphas.sqrt()
        alphas = ((root - root[-1]) * root[0] / (root[0] - root[-1])).square()
    return alphas.float()


def shares(alphas: Tensor) -> tuple[Tensor, Tensor]:
    """How much of a picture and of the noise there is at (B,) alphas, (B, 1, 1, 1) each."""
    alphas = alphas.view(-1, 1, 1, 1)
    return alphas.sqrt(), (1 - alphas).sqrt()


class NoiseSchedule:
    """The noise levels that a model was trained on, and those between them."""

    def __init__(self, *, zero_terminal_snr: bool = False) -> None:
        self.alphas_cumprod = alphas_cumprod(zero_terminal_snr)  # (1000,)
        if zero_terminal_snr:
            self.alphas_cumprod[-1] = TERMINAL_ALPHA
        self.sigmas = ((1 - self.alphas_cumprod) / self.alphas_cumprod) ** 0.5
        self.log_sigmas = self.sigmas.log()

    def sigma_at(self, timestep: Tensor) -> Tensor:
        """The noise level of timesteps, whole ones or between."""
        low, high, part = timestep.floor().long(), timestep.ceil().long(), timestep.frac()
        return ((1 - part) * self.log_sigmas[low] + part * self.log_sigmas[high]).exp()

    def timestep_of(self, sigma: Tensor, *, quantize: bool = False) -> Tensor:
        """The timestep of one noise level; 0 or 999 beyond the ends.

        It lies between whole ones, or, with k-diffusion's `quantize`, is the nearest whole one.
        """
        log_sigma = sigma.log()
        if quantize:
            return (log_sigma - self.log_sigmas).abs().argmin()
        low = (log_sigma >= self.log_sigmas).sum().sub(1).clamp(0, TIMESTEPS - 2)
        below, above = self.log_sigmas[low], self.log_sigmas[low + 1]
        return low + ((below - log_sigma) / (below - above)).clamp(0, 1)
