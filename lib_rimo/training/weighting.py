"""How much an error counts: by its size, and by the timestep. Forms and names are kohya's."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lib_rimo.sd.schedule import TIMESTEPS

_MOST_SNR = 1000.0
"""Of timesteps with next to no noise, as kohya's trainer bounds it."""


@dataclass(frozen=True)
class Weighting:
    """The loss of single values and the weight of timesteps; all off: squared errors alike."""

    loss_type: str = "l2"
    huber_c: float = 0.1
    huber_scale: float = 1.0
    huber_schedule: str = "snr"
    min_snr_gamma: float | None = None
    scale_v_pred_loss_like_noise_pred: bool = False
    v_pred_like_loss: float = 0.0
    debiased_estimation_loss: bool = False

    def error(self, difference: Tensor, alphas_cumprod: Tensor, timesteps: Tensor) -> Tensor:
        """The loss of each value of a prediction's difference (B, C, h, w) to its target.

        `alphas_cumprod` (B,) are those of the `timesteps` (B,).
        """
        if self.loss_type == "l2":
            return difference.square()
        if self.loss_type == "l1":
            return difference.abs()
        bound = self._huber_c(alphas_cumprod, timesteps).view(-1, 1, 1, 1)
        error = 2 * ((difference.square() + bound.square()).sqrt() - bound)
        return error * bound if self.loss_type == "huber" else error

    def _huber_c(self, alphas_cumprod: Tensor, timesteps: Tensor) -> Tensor:
        """(B,): from where on errors count no more than their size (arXiv:2403.16728)."""
        if self.huber_schedule == "constant":
            return torch.full_like(alphas_cumprod, self.huber_c * self.huber_scale)
        if self.huber_schedule == "exponential":
            fall = -math.log(self.huber_c) / TIMESTEPS
            return torch.exp(-fall * timesteps) * self.huber_scale
        sigmas = ((1 - alphas_cumprod) / alphas_cumprod).sqrt()
        return (1 - self.huber_c) / (1 + sigmas) ** 2 + self.huber_c

    def weights(self, alphas_cumprod: Tensor, *, is_v: bool) -> Tensor | None:
        """(B,) by the signal-to-noise of the pictures' timesteps; None where all count alike."""
        snr = alphas_cumprod / (1 - alphas_cumprod)
        bounded = snr.clamp(max=_MOST_SNR)
        parts: list[Tensor] = []
        if self.min_snr_gamma:  # over what the prediction type weighs by (arXiv:2303.09556)
            inherent = snr + 1 if is_v else snr.clamp(min=1e-8)
            parts.append(snr.clamp(max=self.min_snr_gamma) / inherent)
        if self.scale_v_pred_loss_like_noise_pred:
            parts.append(bounded / (bounded + 1))
        if self.v_pred_like_loss:
            parts.append(1 + self.v_pred_like_loss * (bounded + 1) / bounded.clamp(min=1e-8))
        if self.debiased_estimation_loss:  # arXiv:2310.08442
            weight = 1 / (bounded + 1) if is_v else bounded.clamp(min=1e-8).rsqrt()
            parts.append(weight)
        if not parts:
            return None
        product = parts[0]
        for part in parts[1:]:
            product = product * part
        return product
