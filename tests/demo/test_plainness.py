"""Plain backgrounds are told from others, whatever stands before them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image, ImageFilter

from lib_rimo.base_model.drawings import PORTRAIT
from lib_rimo.demo.plainness import is_plain, one_colour_share
from lib_rimo.demo.world import PLACES, RIMOCHAN, draw, sample_attributes
from lib_rimo.demo.world.attributes import PLAIN_COLOURS


def softened(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """As a small model draws: a little blurred, its colours a little uneven."""
    blurred = np.asarray(picture.filter(ImageFilter.GaussianBlur(1)), dtype=float)
    uneven = Image.fromarray(rng.integers(0, 255, (6, 4), dtype=np.uint8)).resize(picture.size)
    waves = (np.asarray(uneven, dtype=float)[..., None] - 127) / 127 * 4
    return Image.fromarray(np.clip(blurred + waves, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("place", PLACES)
def test_full_body_drawings(place: str):
    wrong = []
    for seed in range(12):
        rng = np.random.default_rng((7, seed))
        person = sample_attributes(rng, flaws=0) if seed % 3 else RIMOCHAN
        truth = dataclasses.replace(person, place=place, framing="full body")
        picture = draw(truth, PORTRAIT, rng).image
        wrong += [seed for each in (picture, softened(picture, rng)) if
                  is_plain(each) != (place == "plain")]  # fmt: skip
    assert not wrong


@pytest.mark.parametrize("colour", PLAIN_COLOURS)
def test_one_colour_is_all_of_the_strips(colour: str):
    flat = Image.new("RGB", PORTRAIT, PLAIN_COLOURS[colour])
    assert one_colour_share(flat) == 1
    assert one_colour_share(flat.resize((31, 47))) == 1


def test_two_colours_are_not_plain():
    picture = np.zeros((192, 128, 3), dtype=np.uint8)
    picture[:110] = 200
    assert 0.5 < one_colour_share(picture) < 0.75
    assert not is_plain(picture)
