"""What the judge learns from: the pictures' truth has to stay true."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lib_rimo.base_model.drawings import PORTRAIT, draw_with_mask
from lib_rimo.base_model.judge_pictures import dulled, said
from lib_rimo.base_model.sampling import redraw
from lib_rimo.demo.world import RIMOCHAN, Likeness
from lib_rimo.sd.checkpoint import load_checkpoint
from lib_rimo.sd.embedded import MODEL

BARE = dataclasses.replace(RIMOCHAN, likeness=Likeness(hair=1.0, tips=1.0, eyes=1.0))


def test_dulled_ornaments_keep_their_shape_and_all_else():
    drawing, mask = draw_with_mask(RIMOCHAN, BARE, PORTRAIT, (3,))
    pixels = np.asarray(drawing.image)[None]
    changed = dulled(pixels, mask[None], np.random.default_rng(4), share=1.0)[0]
    assert (changed[~mask] == pixels[0][~mask]).all()
    assert (changed[mask] != pixels[0][mask]).any(axis=1).mean() > 0.2
    dark = (pixels[0].max(axis=2) < 60) & mask  # the rim and the middle
    assert dark.any()
    assert (changed[dark] == pixels[0][dark]).all()


def test_a_redrawn_picture_shows_the_same_in_another_hand():
    pixels = np.array(draw_with_mask(RIMOCHAN, BARE, PORTRAIT, (3,))[0].image)[None]
    checkpoint = load_checkpoint(MODEL)
    once, again = (
        redraw(
            checkpoint, pixels, [said(RIMOCHAN)], ["blurry"], [7], sigma=0.3, steps=8, cfg_scale=7
        )
        for _ in range(2)
    )
    assert (once == again).all()
    away = np.abs(once.astype(int) - pixels).mean()
    assert 1 < away < 30, away


@pytest.mark.parametrize(
    ("visible", "own", "has", "lacks"),
    [
        (1.0, 1.0, "aqua headphones", "brown hair"),
        (0.2, 1.0, "silver hair", "headphones"),
        (1.0, 0.5, "purple tips", "silver hair"),
    ],
)
def test_a_caption_says_what_is_still_seen(visible: float, own: float, has: str, lacks: str):
    tags = said(RIMOCHAN, visible, own).split(", ")
    assert has in tags
    assert lacks not in tags
    assert "yellow eyes" in tags
    assert "twintails" in tags
