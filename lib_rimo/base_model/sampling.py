"""Pictures from the base model: one caption each, as many at once as fit a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lib_rimo.base_model.autoencoder import as_pixels
from lib_rimo.base_model.drawings import PORTRAIT
from lib_rimo.base_model.latents import tokenize
from lib_rimo.base_model.networks import read_captions
from lib_rimo.inference.prompt import Conditioning
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
    count = len(captions)

    def read(texts: Sequence[str]) -> Conditioning:
        return read_captions(
            checkpoint.family, checkpoint.text_encoders, tokenize(list(texts)).long()
        )

    model = GuidedModel(
        checkpoint,
        [read(captions)],
        [read([negative] * count)],
        cfg_scale=cfg_scale,
        size=size,
    )
    noise = SeededNoise(seeds, (4, size[1] // LATENT_PIXELS, size[0] // LATENT_PIXELS))
    sigmas = karras_sigmas(steps, NoiseSchedule())
    scale = float(checkpoint.vae.config.scaling_factor)
    return sample_dpmpp_2m(model, noise, sigmas, lambda step: None) / scale


@torch.no_grad()
def draw_captions(
    checkpoint: Checkpoint, captions: Sequence[str], seeds: Sequence[int], **settings: Any
) -> NDArray[np.uint8]:
    """Pictures (N, height, width, 3) with the settings of `draw_latents`."""
    latents = draw_latents(checkpoint, captions, seeds, **settings)
    return as_pixels(checkpoint.vae.decode(latents).sample)


def as_sheet(pictures: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """(N, H, W, 3) pictures side by side in rows: (rows * H, columns * W, 3)."""
    count, height, width, _ = pictures.shape
    rows = -(-count // columns)
    sheet = np.full((rows * columns, height, width, 3), 255, dtype=np.uint8)
    sheet[:count] = pictures
    grid = sheet.reshape(rows, columns, height, width, 3).swapaxes(1, 2)
    return grid.reshape(rows * height, columns * width, 3)
