"""The judge on drawings that it never saw."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from lib_rimo.base_model.drawings import PORTRAIT
from lib_rimo.base_model.judge_pictures import tinted, visibility
from lib_rimo.base_model.judge_training import measure_judge
from lib_rimo.demo.judge import WEIGHTS, Judge
from lib_rimo.demo.world import OUTFITS, PLACES, RIMOCHAN, Attributes, Likeness, draw
from lib_rimo.training.data.image_files import open_image

pytestmark = pytest.mark.skipif(not WEIGHTS.exists(), reason="the judge is not trained yet")


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge.load()


def test_knows_fresh_drawings(judge: Judge):
    measured = measure_judge(judge, count=64, seed=20260101)
    for name in ("outfit", "pose", "place", "hair_colour", "hair_style", "framing", "cloth_colour"):
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


def test_a_smudge_is_no_ornament(judge: Judge):
    """The same discs, sharp and so blurred that a person would not call them headphones."""
    sharp, blurred, without = [], [], []
    for seed in range(6):
        outfit = OUTFITS[seed % 4]
        truth = dataclasses.replace(RIMOCHAN, outfit=outfit, place=PLACES[seed])
        likeness = dataclasses.replace(truth.likeness, ornament=0.0)
        bare = dataclasses.replace(truth, likeness=likeness)
        drawn, plain = (
            draw(each, PORTRAIT, np.random.default_rng(seed)).image for each in (truth, bare)
        )
        mask = np.abs(np.asarray(drawn, dtype=int) - np.asarray(plain)).max(axis=2) > 8
        smudged = Image.composite(
            drawn.filter(ImageFilter.GaussianBlur(5)), drawn, Image.fromarray(mask)
        )
        assert visibility(np.asarray(drawn), np.asarray(drawn), mask) == 1
        assert visibility(np.asarray(smudged), np.asarray(drawn), mask) < 0.2
        sharp.append(drawn)
        blurred.append(smudged)
        without.append(plain)
    hers, smudges, none = (
        [verdict.likeness.ornament for verdict in judge(pictures)]
        for pictures in (sharp, blurred, without)
    )
    assert min(hers) > 0.6
    assert np.mean(smudges) < 0.35
    assert max(none) < 0.3


def test_sees_headphones_where_a_person_does(judge: Judge):
    """Three rows of ten pictures, sorted by eye: two with her headphones, one without.

    LoRAs of the recipe and of cures drew them, and in the last row mostly the base model alone.
    None of them was learned from.
    """
    sheet = open_image(Path(__file__).parent / "headphones.webp").convert("RGB")
    width, height = PORTRAIT
    *worn, without = (
        [verdict.likeness.ornament for verdict in judge(row)]
        for row in (
            [
                sheet.crop((left, top, left + width, top + height))
                for left in range(0, sheet.width, width)
            ]
            for top in range(0, sheet.height, height)
        )
    )
    assert len(worn) == 2
    assert np.mean(worn) > 0.6
    assert max(without) < 0.2


def test_hair_of_the_ornaments_colour_is_no_ornament(judge: Judge):
    """A narrow model may give her hair the aqua of her headphones, and draw none."""
    truths = [
        dataclasses.replace(
            RIMOCHAN,
            outfit=OUTFITS[seed % 4],
            place=PLACES[seed % len(PLACES)],
            likeness=Likeness(hair=1.0, tips=1.0, eyes=1.0),
        )
        for seed in range(12)
    ]
    pixels = np.stack(
        [
            np.asarray(draw(truth, PORTRAIT, np.random.default_rng((5, index, 1))).image)
            for index, truth in enumerate(truths)
        ]
    )
    dyed, kept = tinted(pixels, truths, 5, share=1.0)
    assert max(kept) < 0.9
    melted = [Image.fromarray(picture).filter(ImageFilter.GaussianBlur(2)) for picture in dyed]
    verdicts = judge(melted)
    assert np.mean([verdict.likeness.ornament for verdict in verdicts]) < 0.2
    own = judge([Image.fromarray(picture) for picture in pixels])
    assert np.mean([v.likeness.hair for v in verdicts]) < np.mean([v.likeness.hair for v in own])


def test_features_are_judged_apart(judge: Judge):
    """What somebody else shares with her counts as that one thing."""
    for change, seen in (
        ({"hair_colour": "silver"}, "hair"),
        ({"tips": "purple"}, "tips"),
        ({"headphones": "aqua"}, "ornament"),
    ):
        people = [Attributes(place=place, **change) for place in ("plain", "beach", "school")]
        pictures = [draw(one, PORTRAIT, np.random.default_rng(5)).image for one in people]
        for verdict in judge(pictures):
            found = dataclasses.asdict(verdict.likeness)
            assert found.pop(seen) > 0.5, seen
            assert max(found.values()) < 0.4, (seen, found)


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
