"""Going on from a finished autoencoder: headphones are learned, the rest of the latents stays."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from lib_rimo.base_model import autoencoder
from lib_rimo.base_model.autoencoder import (
    SCALE_FACTOR,
    as_tensor,
    cropped_at_mask,
    encode_half,
    halved,
    load_autoencoder,
    make_autoencoder,
    ornaments_loss,
    train_ornaments,
)
from lib_rimo.base_model.drawings import draw_headphones
from lib_rimo.base_model.parallel import Worker
from lib_rimo.base_model.stage import Stage


@pytest.fixture(scope="module")
def pictures():
    return draw_headphones(6, seed=3, share=0.5)


def test_mask_is_where_headphones_are(pictures):
    shares = (pictures[..., 3] > 0).mean(axis=(1, 2))
    assert (shares == 0).any()
    assert ((shares[shares > 0] > 0.01) & (shares[shares > 0] < 0.15)).all()


def test_crops_show_something_of_the_mask(pictures):
    worn = pictures[pictures[..., 3].any(axis=(1, 2))]
    for seed in range(20):
        crops = cropped_at_mask(worn, np.random.default_rng(seed))
        assert crops[..., 3].any(axis=(1, 2)).all()


@pytest.mark.parametrize(("mask", "held"), [(0, True), (255, False)])
def test_latents_are_held_but_under_the_mask(pictures, mask, held):
    torch.manual_seed(0)
    known = make_autoencoder().eval()
    moved = copy.deepcopy(known)
    with torch.no_grad():
        known.quant_conv.bias[4:] = moved.quant_conv.bias[4:] = -60.0  # no noise
        moved.quant_conv.bias[:4] += 2 / SCALE_FACTOR
        moved.post_quant_conv.bias -= moved.post_quant_conv.weight[:, :, 0, 0].sum(1) * (
            2 / SCALE_FACTOR
        )  # the decoder takes it back: only the latents differ
        crops = cropped_at_mask(pictures[:2], np.random.default_rng(0))
        crops[..., 3] = mask
        costs = [ornaments_loss(model, known, crops).item() for model in (known, moved)]
    assert costs[1] - costs[0] == pytest.approx(4.0 if held else 0.0, abs=0.01)


def test_headphones_are_learned_near_the_old_latents(tmp_path, monkeypatch, pictures):
    monkeypatch.setattr(autoencoder, "HEADPHONES_DRAWINGS", 4)
    monkeypatch.setattr(autoencoder, "BATCH", 1)
    torch.manual_seed(0)
    known = make_autoencoder().eval()
    stage = Stage(tmp_path, "ornaments")
    train_ornaments(Worker(), stage, copy.deepcopy(known), 3, 0, rate=1e-3)
    trained = load_autoencoder(stage)
    assert trained is not None
    with torch.no_grad():
        crops = cropped_at_mask(pictures[:2], np.random.default_rng(0))
        costs = [ornaments_loss(model, known, crops).item() for model in (known, trained)]
        whole = trained.encode(as_tensor(pictures[:1, ..., :3])).latent_dist.mean
        half = encode_half(trained, halved(pictures[:1, ..., :3])).mean
    assert costs[1] < costs[0]
    assert torch.allclose(whole, half, atol=1e-4)  # the encoder's first level still averages only
