"""The noise that latents are hidden in; its forms and their names are kohya's.

Where kohya's trainer draws or measures once for a batch, here that is done picture by picture, so
that a picture's noise does not depend on its company.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Noise:
    """Plain noise with what is added to it; all zeros: plain noise."""

    noise_offset: float = 0.0
    noise_offset_random_strength: bool = False
    adaptive_noise_scale: float = 0.0
    multires_noise_iterations: int = 0
    multires_noise_discount: float = 0.3
    ip_noise_gamma: float = 0.0
    ip_noise_gamma_random_strength: bool = False

    def draw(self, latents: Tensor, generator: torch.Generator) -> Tensor:
        """What the model is to predict: as large as the scaled latents (C, h, w), on the CPU."""
        noise = torch.randn(latents.shape, generator=generator)
        if self.noise_offset:
            noise = noise + self._offset(latents, generator) * torch.randn(
                len(latents), 1, 1, generator=generator
            )
        if self.multires_noise_iterations:
            noise = self._with_coarser(noise, generator)
        return noise

    def perturbed(self, noise: Tensor, generator: torch.Generator) -> Tensor:
        """What the latents are really hidden in (arXiv:2301.11706); the target stays `noise`."""
        if not self.ip_noise_gamma:
            return noise
        gamma = self.ip_noise_gamma
        if self.ip_noise_gamma_random_strength:
            gamma *= torch.rand(1, generator=generator).item()
        return noise + gamma * torch.randn(noise.shape, generator=generator)

    def _offset(self, latents: Tensor, generator: torch.Generator) -> float | Tensor:
        """How far a channel is shifted: one number, or one for each, (C, 1, 1)."""
        offset = self.noise_offset
        if self.noise_offset_random_strength:
            offset *= torch.rand(1, generator=generator).item()
        if not self.adaptive_noise_scale:
            return offset
        brightness = latents.detach().float().cpu().mean(dim=(1, 2), keepdim=True).abs()
        return (offset + self.adaptive_noise_scale * brightness).clamp(min=0)

    def _with_coarser(self, noise: Tensor, generator: torch.Generator) -> Tensor:
        """Add noise of coarser and coarser grids, then scale it to a deviation of 1."""
        channels, height, width = noise.shape
        for iteration in range(self.multires_noise_iterations):
            times = 2 + 2 * torch.rand((), generator=generator).item()
            size = [max(1, int(side / times**iteration)) for side in (height, width)]
            coarse = torch.randn(1, channels, *size, generator=generator)
            fine = functional.interpolate(coarse, (height, width), mode="bilinear")[0]
            noise = noise + fine * self.multires_noise_discount**iteration
            if 1 in size:
                break
        return noise / noise.std()
