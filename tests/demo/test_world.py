"""The world draws what its captions say, the same for the same seed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image

from lib_rimo.base_model.drawings import PORTRAIT, SQUARE, make_drawings
from lib_rimo.demo.rimochan_pictures import FOLDER, PICTURES, TRIGGER
from lib_rimo.demo.world import (
    FRAMINGS,
    OUTFITS,
    PLACES,
    POSES,
    RIMOCHAN,
    Attributes,
    Likeness,
    caption,
    complaints,
    draw,
    draw_mask,
    full_caption,
    sample_attributes,
)
from lib_rimo.demo.world.canvas import below, ellipse, points
from lib_rimo.demo.world.captions import PLACE_TAGS


def test_same_seed_same_drawing():
    first, second = make_drawings(4, seed=3), make_drawings(4, seed=3)
    assert np.array_equal(first.pixels, second.pixels)
    assert first.captions == second.captions
    assert not np.array_equal(first.pixels, make_drawings(4, seed=4).pixels)


@pytest.mark.parametrize("outfit", OUTFITS)
@pytest.mark.parametrize("pose", POSES)
def test_everything_can_be_drawn(outfit: str, pose: str):
    for index, place in enumerate(PLACES):
        attributes = Attributes(outfit=outfit, pose=pose, place=place)
        rng = np.random.default_rng(index)
        size = (PORTRAIT, SQUARE)[index % 2]
        drawing = draw(attributes, size, rng)
        assert drawing.image.size == size
        assert (drawing.detail == 0) == (place == "plain")


@pytest.mark.parametrize(
    "change",
    [
        {"outfit": "maid"},
        {"pose": "sitting"},
        {"place": "beach"},
        {"hair_colour": "green"},
        {"hair_style": "twintails"},
        {"eye_colour": "red"},
        {"blush": True},
        {"framing": "upper body"},
        {"likeness": Likeness(tips=1.0)},
        {"tips": "green"},
        {"headphones": "red"},
        {"hair_colour": "silver"},
    ],
)
def test_each_attribute_is_visible(change: dict[str, object]):
    plain = np.asarray(draw(Attributes(), PORTRAIT, np.random.default_rng(0)).image, dtype=int)
    changed = dataclasses.replace(Attributes(), **change)
    other = np.asarray(draw(changed, PORTRAIT, np.random.default_rng(0)).image, dtype=int)
    assert (np.abs(plain - other).max(axis=2) > 40).sum() > 60


def test_captions_name_what_is_drawn():
    rng = np.random.default_rng(0)
    for _ in range(50):
        truth = sample_attributes(rng)
        tags = full_caption(truth).split(", ")
        assert f"{truth.hair_colour} hair" in tags
        assert ("headphones" in tags) == (truth.headphones is not None)
        assert ("colored tips" in tags) == (truth.tips is not None)
        assert (tags[0] == truth.name) == (truth.name is not None)
        assert truth.hair_style in tags
        assert (truth.pose in tags) == (truth.framing == "full body")
        assert set(caption(truth, rng).split(", ")) & set(tags)


def test_tags_of_other_attributes_never_slip_in():
    rng = np.random.default_rng(1)
    for _ in range(200):
        truth = sample_attributes(rng)
        tags = set(caption(truth, rng).split(", "))
        assert not tags & (set(POSES) - {truth.pose})
        assert not tags & (set(FRAMINGS) - {truth.framing})
        assert "kimono" not in tags or truth.outfit == "kimono"


def test_places_with_nobody_in_them():
    """Neither drawing nor caption has anything of a person, whatever the attributes say."""
    rng = np.random.default_rng(6)
    for place in PLACES[:-1]:
        empty = Attributes(place=place, nobody=True)
        tags = set(caption(empty, rng).split(", "))
        assert "no humans" in tags
        assert not tags & {"1girl", "solo", "standing", "long hair", "brown hair", "dress"}
        assert tags & set(PLACE_TAGS[place])
        pictures = [
            np.asarray(draw(each, PORTRAIT, np.random.default_rng(3)).image)
            for each in (empty, dataclasses.replace(empty, outfit="maid", hair_colour="red"))
        ]
        assert (pictures[0] == pictures[1]).all()
    drawn = [sample_attributes(rng, empty=0.3).nobody for _ in range(300)]
    assert 0.2 < np.mean(drawn) < 0.4
    assert not any(sample_attributes(rng).nobody for _ in range(50))


@pytest.mark.parametrize("pose", POSES)
def test_the_mask_is_where_the_figure_is(pose: str):
    """But for the shadow and the seat below, everything else is as if nobody were there."""
    attributes = Attributes(pose=pose, place="beach", gesture="waving")
    mask = np.asarray(draw_mask(attributes, PORTRAIT, np.random.default_rng(2)))
    drawn, empty = (
        np.asarray(draw(each, PORTRAIT, np.random.default_rng(2)).image)
        for each in (attributes, dataclasses.replace(attributes, nobody=True))
    )
    differs = (drawn != empty).any(axis=2)
    upper = slice(0, PORTRAIT[1] // 2)
    assert not differs[upper][mask[upper] == 0].any()
    assert differs[mask == 255].mean() > 0.9
    assert 0.1 < (mask == 255).mean() < 0.5


def test_nobody_in_the_world_is_rimochan():
    rng = np.random.default_rng(2)
    people = [sample_attributes(rng) for _ in range(500)]
    assert all(person.likeness == Likeness() for person in people)
    assert all(4 * person.resemblance.score <= 1 for person in people)  # of hers, one thing
    assert {person.resemblance for person in people} > {
        Likeness(hair=1), Likeness(tips=1), Likeness(eyes=1), Likeness(ornament=1)
    }  # fmt: skip
    assert not any(TRIGGER in caption(person, rng) for person in people)


def test_a_feature_of_hers_looks_the_same_on_others():
    """Named or not, it is drawn alike, so that a base model can draw what a LoRA then asks for."""
    for named, unnamed in (
        ({"hair_colour": "silver"}, Likeness(hair=1)),
        ({"tips": "purple"}, Likeness(tips=1)),
        ({"headphones": "aqua"}, Likeness(ornament=1)),
    ):
        for attributes in (Attributes(**named), Attributes(likeness=unnamed)):
            assert attributes.resemblance == unnamed
        pictures = [
            np.asarray(draw(attributes, PORTRAIT, np.random.default_rng(4)).image, dtype=int)
            for attributes in (Attributes(**named), Attributes(likeness=unnamed))
        ]
        assert np.abs(pictures[0] - pictures[1]).mean() < 0.5


def test_a_name_is_always_the_same_look():
    rng = np.random.default_rng(3)
    looks: dict[str, set[tuple[object, ...]]] = {}
    for _ in range(600):
        truth = sample_attributes(rng)
        if truth.name:
            look = (truth.hair_colour, truth.hair_style, truth.tips, truth.eye_colour)
            looks.setdefault(truth.name, set()).add((*look, truth.headphones, truth.choker))
    assert len(looks) > 80
    assert all(len(seen) == 1 for seen in looks.values())
    assert len({next(iter(seen)) for seen in looks.values()}) > 70


def test_captions_keep_silent_about_place_and_look():
    """As often about a plain background as about any other: no place named is no word for plain."""
    rng = np.random.default_rng(5)
    silent: dict[bool, list[bool]] = {True: [], False: []}
    unsaid = []
    for _ in range(1500):
        truth = sample_attributes(rng, flaws=0)
        tags = set(caption(truth, rng).split(", "))
        place_words = set(PLACE_TAGS[truth.place]) | {f"{truth.plain_colour} background"}
        silent[truth.place == "plain"].append(not tags & place_words)
        if truth.name in tags:
            unsaid.append(f"{truth.hair_colour} hair" not in tags)
    plain, others = (np.mean(silent[which]) for which in (True, False))
    assert 0.1 < plain < 0.25
    assert abs(plain - others) < 0.07
    assert np.mean(unsaid) > 0.5


def test_complaints_list_many_flaws():
    lists = [complaints(np.random.default_rng(seed)).split(", ") for seed in range(20)]
    assert min(len(words) for words in lists) >= 5
    assert {"greyscale", "worst quality", "blurry", "signature"} < {w for ws in lists for w in ws}


def test_rimochans_five_pictures():
    assert len(PICTURES) == 5
    for number, attributes in enumerate(PICTURES, start=1):
        assert attributes.likeness == RIMOCHAN.likeness
        assert attributes.place == "plain"
        with Image.open(FOLDER / f"{number}.png") as picture:
            assert picture.size == (384, 576)
        tags = (FOLDER / f"{number}.txt").read_text(encoding="utf-8").strip().split(", ")
        assert tags[0] == TRIGGER
        assert not any(tag.endswith((" hair", " eyes")) for tag in tags)


def test_below_keeps_the_lower_half():
    half = below(ellipse(0, 0, 10, 10), 0)
    assert half[:, 1].min() >= 0
    assert half[:, 1].max() > 9.9
    assert below(points((0, 0), (1, 0), (0, 1)), 5).shape == (0, 2)
