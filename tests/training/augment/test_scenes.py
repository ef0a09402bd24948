"""The subject cut out and put into places that a base model draws, captions following."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from lib_rimo.demo.rimochan_pictures import FOLDER
from lib_rimo.errors import UserError
from lib_rimo.sd.embedded import MODEL
from lib_rimo.training.augment import augmentation, scenes
from lib_rimo.training.augment.augmentation import augment
from lib_rimo.training.augment.scenes import Scene, caption_in, draw_scenes, named_places
from lib_rimo.training.augment.variants import Variant
from lib_rimo.training.data.captions import split_tags
from lib_rimo.training.data.masks import find_mask, mask_file
from lib_rimo.training.data.pictures import read_picture
from lib_rimo.training.data.prior_captions import place_prompts
from tests.sd.narrow import write_narrow_checkpoint

BLUE = Scene(Image.new("RGB", (40, 60), (0, 0, 255)), "beach, outdoors, ocean")


def variant(source: str, caption: str) -> Variant:
    return Variant(Path(source), "whole", (0, 0, 8, 8), False, (8, 8), caption, "")


def figure(ground: str = "white", *, busy: bool = False) -> Image.Image:
    image = Image.new("RGB", (200, 300), ground)
    if busy:
        noise = np.random.default_rng(1).integers(0, 255, (300, 200, 3), np.uint8)
        image = Image.fromarray(noise)
    ImageDraw.Draw(image).ellipse((60, 40, 140, 280), fill="red", outline="black", width=3)
    return image


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "rimochan"
    folder.mkdir()
    figure().save(folder / "1.png")
    (folder / "1.txt").write_text("rimochan, 1girl, Simple Background, white background, smile")
    figure(busy=True).save(folder / "2.png")
    (folder / "2.txt").write_text("rimochan, 1girl, outdoors")
    return folder


def test_what_is_cut_out_stands_in_the_place_and_every_other_caption_names_it(
    source, tmp_path, monkeypatch
):
    monkeypatch.setattr(augmentation, "draw_scenes", lambda *_: [BLUE])
    summary = augment(source, tmp_path / "made", count=8, resolution="64,96", base=MODEL, scenes=1)
    named = []
    for file, variant in zip(summary.files, summary.variants, strict=True):
        with Image.open(file) as opened:
            image = opened.copy()
        caption = file.with_suffix(".txt").read_text().strip()
        assert caption == variant.caption
        assert image.mode == "RGB"
        if variant.source.name == "1.png":
            assert "background" not in caption.lower()
            named.append(caption.endswith("beach, outdoors, ocean"))
            assert named[-1] or "outdoors" not in caption
            colours = {colour for _, colour in image.getcolors(1 << 16)}
            assert (255, 255, 255) not in colours
            mask = find_mask(read_picture(file))
            assert mask.source == "file"
            if variant.framing == "whole":
                assert image.getpixel((0, 0)) == (0, 0, 255)
                assert image.getpixel((32, 48))[0] > 240
                assert mask.image.getpixel((0, 0)) == 0
                assert mask.image.getpixel((32, 48)) == 255
        else:
            assert "beach" not in caption
            assert mask_file(file) is None
    assert 0 < sum(named) < len(named)
    augment(source, tmp_path / "made", count=4, resolution="64,96", base=MODEL, scenes=1)
    assert len(list((tmp_path / "made" / "masks").iterdir())) <= 4  # replaced, masks too
    (message,) = summary.not_cut_out
    assert "2.png stays on its own background" in message.text()
    assert {variant.source.name for variant in summary.variants} == {"1.png", "2.png"}


def test_captions_name_each_thing_once():
    caption = "a, outdoors, grey background, b"
    assert caption_in(caption, BLUE.tags) == f"a, b, {BLUE.tags}"
    assert caption_in("", BLUE.tags) == BLUE.tags
    assert caption_in(caption) == "a, b"


@pytest.mark.parametrize("place", place_prompts())
def test_a_place_that_was_cut_away_is_named_no_more(place):
    caption = (
        f"rimochan, 1girl, {place}, Blue Sky, night_sky, wooden table, holding umbrella, smile"
    )
    hers = [tag for tag in split_tags(place) if tag in scenes._AT_HAND]
    assert split_tags(caption_in(caption)) == [
        "rimochan",
        "1girl",
        *hers,
        "holding umbrella",
        "smile",
    ]
    assert caption_in(caption, "x, y").endswith(", smile, x, y")


def test_a_name_stays_whatever_it_is_the_word_for():
    assert caption_in("Rain, 1girl, rain, outdoors") == "Rain, 1girl"
    assert caption_in("white background, 1girl, rain") == "1girl"


def test_what_tells_of_her_stays():
    for caption in FOLDER.glob("*.txt"):
        tags = split_tags(caption.read_text())
        assert split_tags(caption_in(", ".join(tags))) == [t for t in tags if "background" not in t]


FRAMINGS = ("1girl, full body", "1girl, upper body", "1girl, close-up", "1girl")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.sampled_from(FRAMINGS)), max_size=60))
def test_of_any_pictures_about_half_of_the_captions_name_their_place(pictures):
    variants = [variant(f"{source}.png", caption) for source, caption in pictures]
    named = named_places(variants)
    assert named == named_places(variants)
    groups = [
        [is_named for (_, other), is_named in zip(pictures, named, strict=True) if other == framing]
        for framing in FRAMINGS
    ]
    groups += [
        [is_named for (other, _), is_named in zip(pictures, named, strict=True) if other == source]
        for source in range(7)
    ]
    for group in groups:
        assert abs(2 * sum(group) - len(group)) <= 4
    assert abs(2 * sum(named) - len(named)) <= 6


def test_of_five_pictures_made_twenty_exactly_half_name_it_in_every_framing():
    """As `augment` plans them: each whole, its upper body, its face, mirrored; one is a bust."""
    framings = [FRAMINGS[:3] + FRAMINGS[:1]] * 4 + [(FRAMINGS[1], FRAMINGS[2]) * 2]
    pictures = [(source, framings[source][turn]) for turn in range(4) for source in range(5)]
    named = named_places([variant(f"{source}.png", caption) for source, caption in pictures])
    by_source, by_framing = Counter(), Counter()
    for (source, framing), is_named in zip(pictures, named, strict=True):
        by_source[source] += 1 if is_named else -1
        by_framing[framing] += 1 if is_named else -1
    assert not any(by_source.values())
    assert not any(by_framing.values())


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setattr(scenes, "STEPS", 2)  # what they look like does not matter
    path = tmp_path / "narrow.safetensors"
    write_narrow_checkpoint(path, "sd1")
    return path


def test_places_are_drawn_by_the_base_model_and_the_same_again(model, tmp_path):
    first, again = (draw_scenes(model, (64, 64), 2, 3, tmp_path / name) for name in "ab")
    assert [scene.tags for scene in first] == [scene.tags for scene in again]
    assert len({scene.tags for scene in first}) == 2
    assert {scene.tags for scene in first} <= set(place_prompts())
    for one, other in zip(first, again, strict=True):
        assert one.image.size == (64, 64)
        assert one.image.tobytes() == other.image.tobytes()


def test_places_that_are_drawn_are_kept_until_the_set_is_there(model, source, tmp_path):
    def stop_at_the_third(done, total):
        told.append((done, total))
        if done == 2:
            raise KeyboardInterrupt

    made, told, after = tmp_path / "made", [], []
    few = {"count": 4, "resolution": "64,64", "base": model}
    with pytest.raises(KeyboardInterrupt):
        augment(source, made, **few, scenes=4, drawing=stop_at_the_third)
    assert told == [(0, 4), (1, 4), (2, 4)]
    assert not made.exists()
    drawn = {file.name: file.stat().st_mtime_ns for file in (tmp_path / ".made.places").iterdir()}
    assert len(drawn) == 2
    whole = augment(source, made, **few, scenes=4, drawing=lambda *state: after.append(state))
    assert after == [(2, 4), (3, 4), (4, 4)]
    assert not (tmp_path / ".made.places").exists()
    # As if nothing had come between.
    straight = augment(source, tmp_path / "straight", **few, scenes=4)
    for one, other in zip(whole.files, straight.files, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_of_another_model_or_seed_nothing_is_taken(model, tmp_path):
    told, other = [], tmp_path / "other.safetensors"
    draw_scenes(model, (64, 64), 1, 1, tmp_path)
    draw_scenes(model, (64, 64), 1, 2, tmp_path, lambda *state: told.append(state))
    write_narrow_checkpoint(other, "sd2")
    draw_scenes(other, (64, 64), 1, 1, tmp_path, lambda *state: told.append(state))
    draw_scenes(model, (64, 128), 1, 1, tmp_path, lambda *state: told.append(state))
    model.with_suffix(".yaml").write_text("model: {params: {parameterization: v}}")
    draw_scenes(model, (64, 64), 1, 1, tmp_path, lambda *state: told.append(state))
    assert told == [(0, 1), (1, 1)] * 4


def test_a_base_model_is_asked_for(source, tmp_path):
    with pytest.raises(UserError, match="--model"):
        augment(source, tmp_path / "made", scenes=3)
