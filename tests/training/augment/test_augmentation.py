"""Five pictures become twenty, the same twenty for the same seed, whole or not at all."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageDraw, ImageOps

from lib_rimo import demo
from lib_rimo.commands import augment as command
from lib_rimo.errors import UserError
from lib_rimo.held_folders import HeldFolders
from lib_rimo.training.augment import augmentation, focus
from lib_rimo.training.augment.augmentation import (
    augment,
    discard,
    is_untouched,
    read_augmentation,
)
from lib_rimo.training.augment.focus import find_focus
from lib_rimo.training.augment.framing import CLOSE_UP, UPPER_BODY, WHOLE
from lib_rimo.training.augment.variants import draw_variant, plan_augmentation
from lib_rimo.training.data.folders import find_folders
from lib_rimo.training.data.pictures import Picture, find_pictures, read_picture, read_pictures

SIZE = (112, 176)
RIMOCHAN = Path(demo.__file__).with_name("rimochan")
TAGS = "rimochan, 1girl, standing, white shoes, full body"


def draw_character(x: int, busy: bool = False, seed: int = 0) -> Image.Image:
    """A figure of 40 x 200 around x, its head (60..100) the most striking part of it."""
    image = Image.new("RGB", (200, 300), "#bfe0ff")
    pen = ImageDraw.Draw(image)
    if busy:
        colours = np.random.default_rng(seed).integers(150, 220, (10, 3))
        for row, colour in enumerate(colours):
            pen.rectangle((0, row * 30, 200, row * 30 + 30), fill=tuple(colour.tolist()))
    pen.rectangle((x - 8, 180, x - 3, 255), fill="#704030")
    pen.rectangle((x + 3, 180, x + 8, 255), fill="#704030")
    pen.rectangle((x - 14, 100, x + 14, 190), fill="#d03040")
    pen.ellipse((x - 20, 58, x + 20, 102), fill="#ffe8d8", outline="black", width=2)
    for eye in (x - 9, x + 9):
        pen.ellipse((eye - 5, 78, eye + 5, 92), fill="black")
        pen.ellipse((eye - 3, 80, eye, 84), fill="white")
    return image


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "rimochan"
    folder.mkdir()
    for number in range(5):
        draw_character(60 + 20 * number, busy=number > 2, seed=number).save(
            folder / f"{number}.png"
        )
        (folder / f"{number}.txt").write_text(TAGS)
    return folder


@pytest.fixture(autouse=True)
def without_detector(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Saliency alone."""
    monkeypatch.setattr(focus, "find_face", lambda _: None)
    return monkeypatch


@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize("with_detector", [False, True])
def test_the_character_and_its_head_are_found(
    busy: bool, with_detector: bool, without_detector: pytest.MonkeyPatch
) -> None:
    if with_detector:
        without_detector.undo()
    found = find_focus(Picture(Path("1.png"), draw_character(130, busy), None, ""))
    assert found.face_found == with_detector
    assert found.subject == pytest.approx((110, 58, 150, 255), abs=14)
    assert found.head == pytest.approx((110, 58, 150, 102), abs=14)


def test_a_picture_without_a_character_gets_boxes_inside_it(
    without_detector: pytest.MonkeyPatch,
) -> None:
    without_detector.undo()
    noise = np.random.default_rng(0).integers(0, 256, (90, 400, 3), dtype=np.uint8)
    ramp = np.broadcast_to(np.linspace(0, 255, 300, dtype=np.uint8)[:, None, None], (300, 70, 3))
    for pixels in (noise, ramp):
        image = Image.fromarray(np.ascontiguousarray(pixels))
        found = find_focus(Picture(Path("1.png"), image, None, ""))
        assert not found.face_found
        for left, top, right, bottom in (found.subject, found.head):
            assert 0 <= left < right <= image.width
            assert 0 <= top < bottom <= image.height


def test_every_picture_comes_whole_as_crops_and_mirrored(source: Path) -> None:
    pictures, _ = read_pictures(find_pictures(source))
    variants = plan_augmentation(pictures, 30, SIZE, seed=1)
    assert len(variants) == 30
    for picture in pictures:
        own = [variant for variant in variants if variant.source == picture.path]
        seen = {(variant.framing, variant.flipped) for variant in own}
        assert seen == {
            (framing, flipped)
            for framing in (WHOLE, UPPER_BODY, CLOSE_UP)
            for flipped in (False, True)
        }
        assert own[0].framing == WHOLE
        assert not own[0].flipped
    assert len({(v.source, v.box, v.flipped) for v in variants}) == 30


def test_the_seed_decides_everything(source: Path) -> None:
    pictures, _ = read_pictures(find_pictures(source))
    plan = plan_augmentation(pictures, 60, SIZE, seed=1)
    assert plan_augmentation(pictures, 60, SIZE, seed=1) == plan
    assert plan_augmentation(pictures, 60, SIZE, seed=2) != plan
    # A larger count only adds.
    assert plan_augmentation(pictures, 20, SIZE, seed=1) == plan[:20]


def test_nothing_is_mirrored_when_not_wanted(source: Path) -> None:
    pictures, _ = read_pictures(find_pictures(source))
    variants = plan_augmentation(pictures, 60, SIZE, seed=1, mirror=False)
    assert not any(variant.flipped for variant in variants)
    assert len({(v.source, v.box) for v in variants}) == 60


def test_captions_follow_the_crop(source: Path) -> None:
    pictures, _ = read_pictures(find_pictures(source))
    captions = {v.framing: v.caption for v in plan_augmentation(pictures, 20, SIZE, seed=1)}
    assert captions == {
        WHOLE: TAGS,
        UPPER_BODY: "rimochan, 1girl, standing, upper body",
        CLOSE_UP: "rimochan, 1girl, close-up",
    }


def test_too_small_a_count_is_refused(source: Path) -> None:
    pictures, _ = read_pictures(find_pictures(source))
    with pytest.raises(UserError, match="5 pictures cannot become 4"):
        plan_augmentation(pictures, 4, SIZE, seed=1)


def test_a_drawn_variant_shows_its_box(source: Path) -> None:
    picture = read_picture(source / "0.png")
    (whole,) = plan_augmentation([picture], 1, (200, 300), seed=1)
    assert draw_variant(picture, whole).tobytes() == picture.rgb.tobytes()
    mirrored = replace(whole, flipped=True)
    assert draw_variant(picture, mirrored).tobytes() == ImageOps.mirror(picture.rgb).tobytes()
    part = replace(whole, box=(40.0, 60.0, 140.0, 210.0))
    expected = picture.rgb.crop((40, 60, 140, 210)).resize((200, 300), Image.Resampling.LANCZOS)
    difference = ImageChops.difference(draw_variant(picture, part), expected)
    assert np.asarray(difference).mean() < 1


def test_a_margin_has_the_borders_colour() -> None:
    image = draw_character(100)
    picture = Picture(Path("1.png"), image, None, "")
    (variant,) = plan_augmentation([picture], 1, (300, 300), seed=1)
    drawn = draw_variant(picture, variant)
    assert drawn.getpixel((2, 150)) == drawn.getpixel((297, 150)) == image.getpixel((0, 0))
    # A circle stays a circle.
    dark = np.argwhere(np.asarray(drawn.convert("L")) < 30)
    assert np.ptp(dark[:, 1]) == pytest.approx(40 * 300 / (variant.box[3] - variant.box[1]), abs=3)


def test_alpha_is_kept_as_a_mask(tmp_path: Path) -> None:
    image = draw_character(100)
    background = Image.new("RGB", image.size, image.getpixel((0, 0)))
    alpha = ImageChops.difference(image, background).convert("L").point([0] * 8 + [255] * 248)
    image.putalpha(alpha)
    (tmp_path / "in").mkdir()
    image.save(tmp_path / "in" / "1.png")
    summary = augment(tmp_path / "in", tmp_path / "out", count=6, resolution=(176, 112))
    for file, variant in zip(summary.files, summary.variants, strict=True):
        made = read_picture(file)
        assert made.alpha is not None
        if variant.framing == WHOLE:
            assert made.alpha.getpixel((2, 50)) == 0
            assert made.rgb.getpixel((2, 50)) == (255, 255, 255)
            scale = 176 / (variant.box[2] - variant.box[0])
            opaque = np.asarray(alpha, float).sum() * scale**2
            assert np.asarray(made.alpha, float).sum() == pytest.approx(opaque, rel=0.05)


def test_the_folder_holds_pictures_captions_manifest_and_contact_sheet(
    source: Path, tmp_path: Path
) -> None:
    (source / "broken.png").write_text("no picture")
    summary = augment(source, tmp_path / "out", count=20, resolution="112,176")
    inner = tmp_path / "out" / "1_rimochan"
    assert sorted(summary.files) == sorted(inner.glob("*.png"))
    for file, variant in zip(summary.files, summary.variants, strict=True):
        assert read_picture(file).size == SIZE
        assert file.with_suffix(".txt").read_text().strip() == variant.caption
    assert read_augmentation(tmp_path / "out") == list(
        zip(summary.files, summary.variants, strict=True)
    )
    assert min(read_picture(tmp_path / "out" / "contact_sheet.png").size) > 400
    manifest = json.loads((tmp_path / "out" / "augmentation.json").read_text())
    assert [entry["file"] for entry in manifest["left_out"]] == ["broken.png"]
    assert "Left out: broken.png cannot be read" in "\n".join(map(str, summary.messages()))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_same_command_gives_the_same_files(source: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        augment(source, tmp_path / name, count=12, resolution=SIZE, seed=3)
    for file in (tmp_path / "one" / "1_rimochan").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / "1_rimochan" / file.name).read_bytes()


def test_an_own_folder_is_replaced_and_a_foreign_one_refused(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    augment(source, out, count=20, resolution=SIZE)
    augment(source, out, count=5, resolution=SIZE)
    assert len(list((out / "1_rimochan").glob("*.png"))) == 5
    (out / "mine.png").write_bytes(b"precious")
    with pytest.raises(UserError, match=r"mine\.png"):
        augment(source, out, count=5, resolution=SIZE)
    assert (out / "mine.png").read_bytes() == b"precious"
    with pytest.raises(UserError, match="not made by augmenting"):
        augment(source, source, count=5, resolution=SIZE)


def edit_caption(file: Path) -> None:
    file.with_suffix(".txt").write_text("rimochan, red hat")


def throw_out(file: Path) -> None:
    discard(file.parents[1], {file}, HeldFolders(file.parents[2]))


def paint(file: Path) -> None:
    with Image.open(file) as image:
        ImageOps.invert(image.convert("RGB")).save(file)


@pytest.mark.parametrize("change", [edit_caption, throw_out, paint, Path.unlink])
def test_what_somebody_changed_is_overwritten_only_when_asked(
    source: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    out = tmp_path / "out"
    last = augment(source, out, count=5, resolution=SIZE).files[-1]
    assert is_untouched(out, source)
    change(last)
    assert not is_untouched(out, source)
    before = sorted((file, file.stat().st_mtime_ns) for file in out.rglob("*"))
    with pytest.raises(UserError, match=r"changed since it was made \(1_rimochan/05.*--overwrite"):
        augment(source, out, count=5, resolution=SIZE)
    assert sorted((file, file.stat().st_mtime_ns) for file in out.rglob("*")) == before
    augment(source, out, count=5, resolution=SIZE, overwrite=True)
    assert is_untouched(out, source)


def test_a_failure_leaves_the_old_folder(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    augment(source, out, count=5, resolution=SIZE)
    before = sorted(path.name for path in out.rglob("*"))

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(augmentation, "_manifest", fail)
    with pytest.raises(UserError, match="No space left"):
        augment(source, out, count=9, resolution=SIZE)
    assert sorted(path.name for path in out.rglob("*")) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "rimochan"]


def test_single_pictures_can_be_thrown_out(source: Path, tmp_path: Path) -> None:
    files = augment(source, tmp_path / "out", count=8, resolution=SIZE).files
    discard(tmp_path / "out", files[2:4], HeldFolders(tmp_path))
    left = [file for file, _ in read_augmentation(tmp_path / "out")]
    assert left == [*files[:2], *files[4:]]
    assert not files[2].exists()
    assert not files[2].with_suffix(".txt").exists()


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_a_source_without_pictures_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=name):
        augment(tmp_path / name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_verb_prints_what_it_made(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    out = tmp_path / "out"
    arguments = [str(source), str(out), "--count", "6", "--resolution", "112,176", "--seed", "2"]
    assert command.run(parser.parse_args(arguments)) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"Pictures in {out}: 6 (5 whole")
    assert printed.rstrip().endswith(str(out / "contact_sheet.png"))


def test_the_result_is_a_training_set_as_it_is(source: Path, tmp_path: Path) -> None:
    augment(source, tmp_path / "out", count=20, resolution=SIZE)
    folders = find_folders(tmp_path / "out")
    assert [(folder.repeats, folder.class_tokens) for folder in folders] == [(1, "rimochan")]
    assert len(find_pictures(folders[0].path)) == 20


# The middle of each face in the bundled pictures, read off them by eye.
FACES = {"1": (192, 240), "2": (192, 276), "3": (192, 332), "4": (190, 306), "5": (186, 226)}


@pytest.mark.parametrize("with_detector", [False, True])
def test_crops_of_the_bundled_pictures_show_the_face(
    with_detector: bool, without_detector: pytest.MonkeyPatch
) -> None:
    if with_detector:
        without_detector.undo()
    pictures, left_out = read_pictures(find_pictures(RIMOCHAN))
    assert (len(pictures), left_out) == (5, [])
    variants = plan_augmentation(pictures, 20, (448, 704), seed=1)
    framings = Counter(variant.framing for variant in variants)
    assert framings[UPPER_BODY] >= 4
    assert framings[CLOSE_UP] >= 3
    for variant in variants:
        x, y = FACES[variant.source.stem]
        left, top, right, bottom = variant.box
        assert left + 0.3 * (right - left) < x < right - 0.3 * (right - left)
        assert top + 0.2 * (bottom - top) < y < bottom - 0.3 * (bottom - top)
