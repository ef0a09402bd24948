"""The subject of a picture: all of it, nothing behind it, and no mask rather than a wrong one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from lib_rimo.demo import world
from lib_rimo.demo.rimochan_pictures import FOLDER
from lib_rimo.demo.world import RIMOCHAN, attributes, draw
from lib_rimo.errors import UserError
from lib_rimo.training.augment.focus import find_focus
from lib_rimo.training.data.masks import NoMaskError, cut_out, find_mask
from lib_rimo.training.data.pictures import Picture, find_pictures, read_picture

SIZE = (192, 288)


def picture(image, path=Path("1.png")):
    return Picture(path, image.convert("RGB"), None, "")


def drawn(subject, seed, colour):
    chosen = dataclasses.replace(subject, place="plain", plain_colour=colour, flaw=None)
    return draw(chosen, SIZE, np.random.default_rng(seed)).image


def truth(subject, seed):
    """(h, w) in 0..1: what two grounds do not show through."""
    one, other = (np.asarray(drawn(subject, seed, name), int) for name in ("blue", "yellow"))
    grounds = np.subtract(attributes.PLAIN_COLOURS["blue"], attributes.PLAIN_COLOURS["yellow"])
    return 1 - ((one - other) @ grounds / (grounds @ grounds)).clip(0, 1)


def subjects(monkeypatch):
    """All outfits, among them white ones, on a figure with silver hair and one with blonde."""
    monkeypatch.setitem(attributes.CLOTH_COLOURS, "yellow", (252, 252, 252))
    for number, outfit in enumerate(world.OUTFITS):
        for colour in ("yellow", "red"):
            base = RIMOCHAN if colour == "yellow" else world.Attributes()
            pose = world.POSES[number % 3]
            yield dataclasses.replace(base, outfit=outfit, cloth_colour=colour, pose=pose)


@pytest.mark.parametrize("ground", ["white", "pink"])
def test_the_whole_subject_is_kept_white_on_white_too(monkeypatch, ground):
    kept = []
    for seed, subject in enumerate(subjects(monkeypatch)):
        real = truth(subject, seed)
        found = find_mask(picture(drawn(subject, seed, ground)))
        assert found.source == "plain background"
        mask = np.asarray(found.image) / 255
        kept.append(mask[real > 0.99].mean())
        # What is left of the ground: gaps between arms and body, which are enclosed.
        assert mask[real < 0.01].mean() < 0.03, subject
        rim = (real > 0.01) & (real < 0.99)
        assert np.abs(mask - real)[rim].mean() < 0.2, subject
    # A strip of a white dress on white has no outline: nobody can tell it from the ground.
    assert min(kept) > 0.96
    assert sorted(kept)[1] > 0.995


@pytest.mark.parametrize(
    ("name", "box"),
    [("1", (55, 118, 327, 547)), ("4", (0, 129, 384, 576)), ("5", (51, 108, 330, 549))],
)
def test_crops_are_placed_by_all_of_the_character(name, box):
    found = find_focus(read_picture(FOLDER / f"{name}.png"))
    assert found.subject == pytest.approx(box, abs=4)


def test_noise_and_dirt_on_the_ground_are_no_subject():
    image = drawn(RIMOCHAN, 1, "grey")
    clean = np.asarray(find_mask(picture(image)).image)
    noise = np.random.default_rng(0).integers(-8, 9, (*SIZE[::-1], 3))
    dirty = Image.fromarray(np.clip(np.asarray(image, int) + noise, 0, 255).astype(np.uint8))
    dirty.putpixel((5, 5), (0, 0, 0))
    mask = np.asarray(find_mask(picture(dirty)).image)
    assert mask[5, 5] == 0
    assert np.abs(mask.astype(int) - clean).mean() < 3


def test_the_ground_does_not_leak_through_a_gap_in_an_outline():
    image = Image.new("RGB", (400, 400), "white")
    ImageDraw.Draw(image).ellipse((100, 100, 300, 300), outline="black", width=4)
    image.paste("white", (200, 95, 202, 110))
    mask = find_mask(picture(image)).image
    assert mask.getpixel((200, 200)) == 255
    assert mask.getpixel((20, 200)) == 0


@pytest.mark.parametrize(
    ("box", "why"),
    [
        ((190, 190, 200, 200), "only 0.1%"),
        ((3, 3, 396, 396), "cover 97%"),
        ((0, 150, 400, 250), None),  # a band from side to side touches two edges
        ((30, 100, 370, 400), None),
    ],
)
def test_a_mask_that_looks_wrong_is_said_not_used(box, why):
    image = Image.new("RGB", (400, 400), "white")
    pen = ImageDraw.Draw(image)
    pen.rectangle(box, fill="red")
    for x, y in ((0, 0), (384, 0), (0, 384), (384, 384)):
        pen.rectangle((x, y, x + 15, y + 15), fill="white")  # plain means all corners
    if why is None:
        assert find_mask(picture(image)).source == "plain background"
    else:
        with pytest.raises(NoMaskError, match=why):
            find_mask(picture(image))


def test_a_subject_that_reaches_three_edges_with_the_top_is_not_believed():
    image = Image.new("RGB", (400, 400), "white")
    pen = ImageDraw.Draw(image)
    pen.rectangle((150, 0, 250, 400), fill="red")
    pen.rectangle((0, 150, 250, 250), fill="red")
    with pytest.raises(NoMaskError, match="touch 3 of its edges"):
        find_mask(picture(image))


def test_alpha_comes_first_then_files_then_the_ground_then_a_model(tmp_path):
    size = (100, 100)
    image = Image.new("RGB", size, "white")
    image.paste("red", (30, 30, 70, 70))
    path = tmp_path / "1_girl" / "1.png"
    folder, made = tmp_path / "conditioning", tmp_path / "masks"
    for parent in (path.parent, folder, made):
        parent.mkdir()
    one = picture(image, path)

    def write(file, grey):
        Image.new("L", size, grey).save(file)

    assert find_mask(one).source == "plain background"
    with pytest.raises(NoMaskError, match="neither an alpha nor"):
        find_mask(one, guess=False)
    write(made / "1.png", 10)
    assert find_mask(one).image.getpixel((0, 0)) == 10
    write(path.with_name("1-masklabel.png"), 20)
    assert find_mask(one).image.getpixel((0, 0)) == 20
    write(folder / "1.webp", 30)
    assert find_mask(one, folder=folder).image.getpixel((0, 0)) == pytest.approx(30, abs=2)
    alpha = Image.new("L", size, 40)
    assert find_mask(Picture(path, image, alpha, ""), folder=folder).source == "alpha"
    assert find_pictures(path.parent) == []  # the mask is no picture

    busy = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    other = picture(Image.fromarray(busy), tmp_path / "elsewhere" / "2.png")
    with pytest.raises(NoMaskError, match="has a detailed background"):
        find_mask(other)
    subject = Image.new("L", size)
    subject.paste(255, (20, 20, 60, 100))
    assert find_mask(other, segment=lambda _: subject).source == "model"


def test_a_mask_of_another_shape_or_a_broken_one_is_named(tmp_path):
    path = tmp_path / "1.png"
    one = picture(Image.new("RGB", (100, 100), "red"), path)
    label = path.with_name("1-masklabel.png")
    Image.new("L", (100, 50)).save(label)
    with pytest.raises(UserError, match=r"1-masklabel\.png is 100x50, its picture 100x100"):
        find_mask(one)
    label.write_bytes(b"none")
    with pytest.raises(UserError, match="cannot be read"):
        find_mask(one)


def test_what_is_cut_out_has_no_halo_of_the_old_ground():
    pale, seed = drawn(RIMOCHAN, 3, "white"), 3
    mask = find_mask(picture(pale)).image
    new = Image.new("RGB", SIZE, attributes.PLAIN_COLOURS["blue"])
    cut = cut_out(picture(pale), mask)
    new.paste(cut, (0, 0), cut)
    expected = np.asarray(drawn(RIMOCHAN, seed, "blue"), int)
    assert np.abs(np.asarray(new, int) - expected).mean() < 1.0
