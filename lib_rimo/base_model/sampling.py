"""Pictures from the base model: one caption each, as many at once as fit a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lib_rimo.base_model.autoencoder import as_pixels, encode_half, halved
from lib_rimo.base_model.drawings import PORTRAIT
from lib_rimo.base_model.latents import tokenize
from lib_rimo.base_model.networks import read_captions
from lib_rimo.inference.sampling import (
    GuidedModel,
    SeededNoise,
    karras_sigmas,
    sample_dpmpp_2m,
)
from lib_rimo.sd.checkpoint import Checkpoint
from lib_rimo.sd.schedule import NoiseSchedule
from lib_rimo.sd.size import LATENT_PIXELS


@torch.no_grad()
def draw_latents(
    checkpoint: Checkpoint,
    captions: Sequence[str],
    seeds: Sequence[int],
    *,
    steps: int = 20,
    cfg_scale: float = 5.0,
    negative: str = "",
    size: tuple[int, int] = PORTRAIT,
) -> Tensor:
    """Latents (N, 4, h, w) for a decoder, by DPM++ 2M Karras; each has its caption and seed.

    `size` is the pictures' (width, height).
    """
    model = _guided(checkpoint, captions, [negative] * len(captions), cfg_scale, size)
    noise = SeededNoise(seeds, (4, size[1] // LATENT_PIXELS, size[0] // LATENT_PIXELS))
    sigmas = karras_sigmas(steps, NoiseSchedule())
    scale = float(checkpoint.vae.config.scaling_factor)
    return sample_dpmpp_2m(model, noise, sigmas, lambda step: None) / scale


def _guided(
    checkpoint: Checkpoint,
    captions: Sequence[str],
    negatives: Sequence[str],
    cfg_scale: float,
    size: tuple[int, int],
) -> GuidedModel:
    positive, negative = (
        read_captions(checkpoint.family, checkpoint.text_encoders, tokenize(list(texts)).long())
        for texts in (captions, negatives)
    )
    return GuidedModel(checkpoint, [positive], [negative], cfg_scale=cfg_scale, size=size)


@torch.no_grad()
def draw_captions(
    checkpoint: Checkpoint, captions: Sequence[str], seeds: Sequence[int], **settings: Any
) -> NDArray[np.uint8]:
    """Pictures (N, height, width, 3) with the settings of `draw_latents`."""
    latents = draw_latents(checkpoint, captions, seeds, **settings)
    return as_pixels(checkpoint.vae.decode(latents).sample)


@torch.no_grad()
def redraw(
    checkpoint: Checkpoint,
    pixels: NDArray[np.uint8],
    captions: Sequence[str],
    negatives: Sequence[str],
    seeds: Sequence[int],
    *,
    sigma: float,
    steps: int,
    cfg_scale: float,
) -> NDArray[np.uint8]:
    """Pictures (N, H, W, 3) made noisy to the level `sigma` and drawn from there (SDEdit).

    `steps` are those of a whole picture. Meng et al. 2021, arXiv 2108.01073.
    """
    size = (pixels.shape[2], pixels.shape[1])
    model = _guided(checkpoint, captions, negatives, cfg_scale, size)
    sigmas = karras_sigmas(steps, NoiseSchedule())
    sigmas = torch.cat([torch.tensor([sigma]), sigmas[sigmas < sigma]])
    scale = float(checkpoint.vae.config.scaling_factor)
    latents = encode_half(checkpoint.vae, halved(pixels)).mode() * scale
    noisy = _NoisyLatents(latents / sigma, seeds)
    drawn = sample_dpmpp_2m(model, noisy, sigmas, lambda step: None) / scale
    return as_pixels(checkpoint.vae.decode(drawn).sample)


class _NoisyLatents(SeededNoise):
    """Noise around latents (N, 4, h, w), for a sampler to begin with."""

    def __init__(self, latents: Tensor, seeds: Sequence[int]) -> None:
        super().__init__(seeds, tuple(latents.shape[1:]))
        self._latents = latents

    def draw(self) -> Tensor:
        return self._latents + super().draw()


def as_sheet(pictures: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """(N, H, W, 3) pictures side by side in rows: (rows * H, columns * W, 3)."""
    count, height, width, _ = pictures.shape
    rows = -(-count // columns)
    sheet = np.full((rows * columns, height, width, 3), 255, dtype=np.uint8)
    sheet[:count] = pictures
    grid = sheet.reshape(rows, columns, height, width, 3).swapaxes(1, 2)
    return grid.reshape(rows * height, columns * width, 3)
