"""The judge on drawings that it never saw."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lib_rimo.base_model.drawings import PORTRAIT
from lib_rimo.base_model.judge_training import measure_judge
from lib_rimo.demo.judge import WEIGHTS, Judge
from lib_rimo.demo.world import RIMOCHAN, Attributes, Likeness, draw

pytestmark = pytest.mark.skipif(not WEIGHTS.exists(), reason="the judge is not trained yet")


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge.load()


def test_knows_fresh_drawings(judge: Judge):
    measured = measure_judge(judge, count=64, seed=20260101)
    for name in ("outfit", "pose", "place", "hair_colour", "hair_style", "framing"):
        assert measured[name] >= 0.9, name
    assert measured["identity_error"] < 0.1
    assert measured["detail_error"] < 0.1


def test_tells_rimochan_from_others(judge: Judge):
    rng = np.random.default_rng(0)
    others = [Attributes(hair_colour=colour) for colour in ("blonde", "blue", "pink", "black")]
    hers = [dataclasses.replace(RIMOCHAN, outfit=outfit) for outfit in ("kimono", "maid", "dress")]
    pictures = [draw(attributes, PORTRAIT, rng).image for attributes in [*others, *hers]]
    scores = [verdict.identity for verdict in judge(pictures)]
    assert max(scores[: len(others)]) < 0.3
    assert min(scores[len(others) :]) > 0.7


def test_identity_is_graded(judge: Judge):
    steps = [
        Likeness(),
        Likeness(hair=1.0),
        Likeness(hair=1.0, tips=1.0),
        Likeness(hair=1.0, tips=1.0, eyes=1.0, ornament=1.0),
    ]
    pictures = [
        draw(
            dataclasses.replace(RIMOCHAN, likeness=likeness), PORTRAIT, np.random.default_rng(1)
        ).image
        for likeness in steps
    ]
    scores = [verdict.identity for verdict in judge(pictures)]
    assert scores == sorted(scores)


def test_detail_of_backgrounds(judge: Judge):
    pictures = [
        draw(Attributes(place=place), PORTRAIT, np.random.default_rng(2)).image
        for place in ("plain", "beach", "school")
    ]
    plain, beach, school = (verdict.detail for verdict in judge(pictures))
    assert plain < 0.1 < beach < school


def test_takes_pictures_of_any_size(judge: Judge):
    drawing = draw(Attributes(outfit="maid"), (256, 384), np.random.default_rng(3)).image
    small = drawing.resize(PORTRAIT)
    large, little = judge([drawing, small])
    assert large.outfit == little.outfit == "maid"
