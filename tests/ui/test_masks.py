"""Masks as the page and programs correct them, and as what is made of the pictures takes them."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from lib_rimo.hosts.standalone import Standalone
from lib_rimo.training.augment.augmentation import augment, read_augmentation
from lib_rimo.training.data.folders import MASK_FOLDER, find_folders, unused_folders
from lib_rimo.training.data.masks import find_mask
from lib_rimo.training.data.pictures import read_picture
from lib_rimo.ui.train_server import TrainServer
from tests.ui.test_train_api import client_of
from tests.ui.test_train_server import ask, drop

SIZE = (96, 128)
BOX = (30, 40, 60, 127)


def drawn(mode="RGB", box=BOX, inside="red", outside="white", size=SIZE):
    image = Image.new(mode, size, outside)
    ImageDraw.Draw(image).rectangle(box, fill=inside)
    return image


def encoded(image):
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def sent(image):
    return base64.b64encode(encoded(image)).decode()


def seen(reply):
    """A reply's mask, (h, w) in 0..255."""
    content = base64.b64decode(reply["mask"].split(",")[1])
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.fixture
def server(tmp_path):
    return TrainServer(Standalone(tmp_path / "home"))


@pytest.fixture
def mine(server, tmp_path):
    """A dropped set: plain ground, one subject that fills everything, one that is noise."""
    folder = tmp_path / "five"
    folder.mkdir()
    drawn().save(folder / "plain.png")
    drawn(box=(0, 1, 95, 127)).save(folder / "filled.png")
    Image.effect_noise(SIZE, 90).convert("RGB").save(folder / "noisy.png")
    return drop(server, folder)[0]


def test_a_mask_is_found_corrected_and_found_anew(server, mine):
    asked = {"set": mine, "name": "plain.png"}
    found = ask(server, "mask", **asked)
    assert (found["source"], found["can_edit"], found["has_file"]) == (
        "plain background",
        True,
        False,
    )
    assert seen(found)[100, 45] == 255
    assert seen(found)[10, 10] == 0

    corrected = drawn("L", (0, 0, 95, 60), 255, 0)
    told = ask(server, "set_mask", **asked, content=sent(corrected))
    assert (told["source"], told["has_file"]) == ("file", True)
    assert (seen(told) == np.asarray(corrected)).all()
    # What trains and what augments finds it in the same place.
    picture = read_picture(Path(mine) / "plain.png")
    assert find_mask(picture).image.tobytes() == corrected.tobytes()

    assert ask(server, "forget_mask", **asked)["source"] == "plain background"
    shown = ask(server, "pictures", set=mine)["pictures"]
    assert [each["name"] for each in shown] == ["filled.png", "noisy.png", "plain.png"]


def test_a_mask_that_looks_wrong_is_said_and_not_used(server, mine):
    for name, reason in [("filled.png", "cover"), ("noisy.png", "detailed background")]:
        told = ask(server, "mask", set=mine, name=name)
        assert told["mask"] == ""
        assert reason in told["messages"][0]["text"]
    # Whoever paints it all the same gets it, and is asked to look again.
    whole = Image.new("L", SIZE, 255)
    told = ask(server, "set_mask", set=mine, name="noisy.png", content=sent(whole))
    assert told["source"] == "file"
    assert told["messages"][1]["level"] == "warning"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (sent(Image.new("L", SIZE)), "Nothing of plain.png would count"),
        (sent(Image.new("L", (128, 96), 255)), "give it the picture's shape"),
        (base64.b64encode(b"<svg onload=x>").decode(), "is SVG inside"),
        ("%%%", "did not arrive whole"),
    ],
)
def test_what_is_no_mask_is_not_taken(server, mine, content, sentence):
    before = sorted(Path(mine).iterdir())
    assert sentence in ask(server, "set_mask", set=mine, name="plain.png", content=content)["error"]
    assert sorted(Path(mine).iterdir()) == before


def test_the_users_own_mask_stays_beside_a_corrected_one(server, tmp_path):
    drawn().save(tmp_path / "1.png")
    own = drawn("L", (0, 0, 50, 50), 255, 0)
    own.save(tmp_path / "1-masklabel.png")
    ask(server, "pictures", set=str(tmp_path))
    for box in ((0, 0, 10, 10), (0, 0, 20, 20)):
        mask = sent(drawn("L", box, 255, 0))
        ask(server, "set_mask", set=str(tmp_path), name="1.png", content=mask)
    assert Image.open(tmp_path / ".original-1-masklabel.png").tobytes() == own.tobytes()


def test_transparency_is_not_painted_over(server, tmp_path):
    folder = tmp_path / "five"
    folder.mkdir()
    drawn("RGBA", inside=(255, 0, 0, 255), outside=(0, 0, 0, 0)).save(folder / "1.png")
    mine, _ = drop(server, folder)
    assert not ask(server, "mask", set=mine, name="1.png")["can_edit"]
    refused = ask(server, "set_mask", set=mine, name="1.png", content=sent(drawn("L")))
    assert "transparent parts" in refused["error"]


def test_masks_of_all_pictures_are_found_once_the_model_is_there(
    server, mine, tmp_path, monkeypatch
):
    pytest.importorskip("onnxruntime")
    from tests.training.data.test_segmentation import detailed, write_model

    detailed(SIZE, BOX).save(Path(mine) / "noisy.png")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    refused = ask(server, "find_masks", set=mine)["messages"][0]
    # What the page asks about before it fetches, and where to look for it.
    assert (refused["about"], refused["values"]["verb"]) == ("fetch mask", "mask")
    assert {"model", "megabytes"} <= refused["values"].keys()

    kept = tmp_path / "cache" / "models--skytnt--anime-seg"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("1")
    (kept / "snapshots").mkdir()
    write_model(kept / "snapshots" / "1")
    told = ask(server, "find_masks", set=mine)["messages"]
    assert told[-1]["text"] == "Masks written: 2; there already: 0."
    assert "filled.png" in told[0]["text"]
    found = ask(server, "mask", set=mine, name="noisy.png")
    assert (found["source"], seen(found)[100, 45], seen(found)[10, 10]) == ("file", 255, 0)


def test_a_model_is_fetched_by_the_verb_that_needs_it(server, monkeypatch):
    done = []
    monkeypatch.setattr(server.host, "prepare_onnx", lambda: done.append("onnxruntime"))
    monkeypatch.setattr(server.verbs, "run", done.append)
    assert ask(server, "fetch_model", verb="mask") == {}
    assert done == ["onnxruntime", ["mask", "--fetch"]]
    assert "error" in ask(server, "fetch_model", verb="train")
    assert len(done) == 2


def test_pictures_that_are_made_take_the_mask_along(server, mine, tmp_path):
    for name in ("filled.png", "noisy.png"):
        ask(server, "remove", set=mine, name=name)
    mask = drawn("L", (0, 0, 47, 127), 255, 0)  # the left half
    ask(server, "set_mask", set=mine, name="plain.png", content=sent(mask))
    made = tmp_path / "home" / "augmented" / "five-1"
    augment(Path(mine), made, count=6, resolution="64,96", name="her")
    for file, variant in read_augmentation(made):
        found = find_mask(read_picture(file))
        assert found.source == "file"
        left, _, right, _ = variant.box
        edge = (48 - left) / (right - left) * 64
        columns = np.asarray(found.image)[48] > 127
        expected = np.arange(64) + 0.5 < edge
        expected &= np.arange(64) + 0.5 > -left / (right - left) * 64  # nothing of the margin
        assert (columns == (expected[::-1] if variant.flipped else expected)).sum() >= 62
    assert unused_folders(made, find_folders(made)) == []

    shown = ask(server, "pictures", set=str(made))["pictures"]
    first = shown[0]["name"]
    assert not ask(server, "mask", set=str(made), name=first)["can_edit"]
    assert "was made of" in ask(server, "forget_mask", set=str(made), name=first)["error"]
    ask(server, "discard", set=str(made), name=first)
    assert not (made / MASK_FOLDER / Path(first).name).exists()
    assert len(list((made / MASK_FOLDER).iterdir())) == 5


def test_programs_read_and_write_masks(server, mine, monkeypatch):
    monkeypatch.setattr(server.queue, "ensure_running", lambda: None)
    client = client_of(server)
    at = {"folder": mine, "name": "plain.png"}
    mask = encoded(drawn("L", (0, 0, 47, 127), 255, 0))
    assert client.get("/rimo/v1/masks", params={**at, "name": "noisy.png"}).status_code == 404
    assert client.put("/rimo/v1/masks", params=at, content=mask).json()["messages"]
    got = client.get("/rimo/v1/masks", params=at)
    assert got.headers["content-type"] == "image/png"
    assert np.asarray(Image.open(io.BytesIO(got.content)))[0, [0, 90]].tolist() == [255, 0]
    assert client.put("/rimo/v1/masks", params=at, content=b"no").status_code == 400
    assert client.delete("/rimo/v1/masks", params=at).json()["messages"]
    assert not (Path(mine) / "plain-masklabel.png").exists()
    assert json.loads(client.get("/rimo/v1/masks", params={**at, "name": "x"}).text)["messages"]
