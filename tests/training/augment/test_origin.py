"""Made pictures know what they were made of and for, and say when that has changed."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from lib_rimo.held_folders import HeldFolders
from lib_rimo.sd.embedded import MODEL
from lib_rimo.sd.native import STANDING, Native, native_of
from lib_rimo.training.augment.augmentation import augment, discard, read_augmentation
from lib_rimo.training.augment.origin import staleness
from lib_rimo.training.data.pictures import find_pictures

SD1 = Native("sd1", (512, 512), STANDING["sd1"], None, is_demonstration=False)
SDXL = Native("sdxl", (1024, 1024), STANDING["sdxl"], "v_prediction", is_demonstration=False)


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    for number in range(2):
        Image.effect_noise((70, 90), 80).convert("RGB").save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text("rimochan, 1girl")
    return folder


@pytest.fixture
def made(source, tmp_path, monkeypatch):
    monkeypatch.setattr("lib_rimo.training.augment.augmentation.native_of", lambda _: SD1)
    folder = tmp_path / "made"
    augment(source, folder, count=2, resolution="64,128", base=Path("counterfeit.safetensors"))
    return folder


def said(folder, native=SD1):
    return [str(message) for message in staleness(folder, "base", native)]


def test_nothing_is_stale_at_first(made):
    assert said(made) == []
    assert said(made, None) == []  # no base model is chosen yet


def test_another_base_of_the_same_size_changes_nothing_and_another_size_does(made):
    assert said(made, SD1) == []
    assert said(made, SDXL) == [
        "The made pictures are 64×128, and base wants 832×1216: make them again."
    ]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda folder: (folder / "1.txt").write_text("rimochan, hat"), "1.png"),
        (lambda folder: (folder / "1.txt").unlink(), "1.png"),
        (lambda folder: (folder / "0.png").unlink(), "0.png"),
        (lambda folder: Image.new("RGB", (70, 90)).save(folder / "0.png"), "0.png"),
        (lambda folder: Image.new("RGB", (70, 90)).save(folder / "new.png"), "new.png"),
    ],
    ids=["caption", "no caption", "removed", "painted over", "added"],
)
def test_changed_pictures_and_captions_are_named(made, source, change, name):
    change(source)
    assert said(made) == [
        f"Your pictures, captions or masks have changed since others were made of them ({name}): "
        "make them again."
    ]


def test_a_touched_or_missing_source_is_no_change(made, source):
    for picture in find_pictures(source):
        picture.touch()
    assert said(made) == []
    shutil.rmtree(source)
    assert said(made) == []


def test_throwing_one_out_keeps_the_origin(made, source):
    discard(made, {read_augmentation(made)[0][0]}, HeldFolders(made))
    (source / "0.txt").write_text("other")
    assert len(said(made)) == 1


def test_a_set_made_for_no_model_is_stale_by_size_alone(source, tmp_path):
    folder = tmp_path / "plain"
    augment(source, folder, count=2)
    with Image.open(read_augmentation(folder)[0][0]) as picture:
        assert picture.size == (448, 704)
    assert said(folder, SD1) == []
    assert "wants 832×1216" in said(folder, SDXL)[0]
    assert said(source, SDXL) == []  # one's own pictures are as large as they are


def test_a_models_size_is_read_off_its_file():
    if not MODEL.exists():
        pytest.skip("needs the embedded model")
    native = native_of(MODEL)
    assert (native.family, native.size, native.is_demonstration) == ("sd1", (128, 192), True)
