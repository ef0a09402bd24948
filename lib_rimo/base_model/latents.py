"""Cached latents of drawings with their captions, in chunks that are made once and kept."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from lib_rimo.base_model.autoencoder import SCALE_FACTOR, encode_half, halved, mixed_precision
from lib_rimo.base_model.drawings import PORTRAIT, SQUARE, make_drawings
from lib_rimo.base_model.stage import Stage
from lib_rimo.demo.world import caption
from lib_rimo.sd.tokenizer import clip_tokenizer

CHUNK = 256  # drawings of one chunk, all of one size
SQUARE_EVERY = 8  # every eighth chunk is square
EMPTY = 0.06  # share of places with nobody in them, which the augmentation has the model draw
CAPTIONS = 4  # captions of each drawing, with different tags left out
SEED = 1000


class Chunk(NamedTuple):
    """Latents' distribution and the token ids of captions for CHUNK drawings."""

    mean: Tensor  # (N, 4, h, w) float16, scaled to unit variance
    deviation: Tensor  # (N, 4, h, w) float16
    tokens: Tensor  # (N, CAPTIONS, 77) int32


def load_chunk(stage: Stage, autoencoder: AutoencoderKL, number: int) -> Chunk:
    """Chunk `number`, made on its first use."""
    name = f"chunk-{number:04d}"
    kept = stage.load(name)
    if kept is None:
        kept = _make_chunk(autoencoder, number)._asdict()
        stage.save(kept, name)
    return Chunk(**kept)


@torch.no_grad()
def _make_chunk(autoencoder: AutoencoderKL, number: int) -> Chunk:
    size = SQUARE if number % SQUARE_EVERY == SQUARE_EVERY - 1 else PORTRAIT
    drawings = make_drawings(CHUNK, SEED + number, size, empty=EMPTY)
    means, deviations = [], []
    for part in np.array_split(drawings.pixels, CHUNK // 8):
        with mixed_precision():
            posterior = encode_half(autoencoder, halved(part))
        means.append((posterior.mean.float() * SCALE_FACTOR).half())
        deviations.append((posterior.std.float() * SCALE_FACTOR).half())
    rng = np.random.default_rng((SEED, number))
    texts = [caption(truth, rng) for truth in drawings.attributes for _ in range(CAPTIONS)]
    return Chunk(torch.cat(means), torch.cat(deviations), tokenize(texts).view(CHUNK, CAPTIONS, 77))


def tokenize(texts: list[str]) -> Tensor:
    """(N, 77) token ids as Stable Diffusion pads them."""
    tokens = clip_tokenizer()(
        texts, padding="max_length", truncation=True, max_length=77, return_tensors="pt"
    )
    return torch.as_tensor(tokens.input_ids, dtype=torch.int32)
