"""Subjects found by a model; this one takes what is red for the subject."""

import argparse

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageDraw

from lib_rimo.commands import mask
from lib_rimo.errors import UserError
from lib_rimo.training.data.segmentation import MODEL, Segmenter

(MODEL_FILE,) = MODEL.files


def write_model(folder, side=64, channels=3):
    """A 1x1 convolution: red less green."""
    folder.mkdir(exist_ok=True)
    weights = np.zeros((1, channels, 1, 1), np.float32)
    weights[0, :2, 0, 0] = 1, -1
    graph = helper.make_graph(
        [helper.make_node("Conv", ["img", "weights"], ["mask"])],
        "segmenter",
        [helper.make_tensor_value_info("img", TensorProto.FLOAT, [1, channels, side, side])],
        [helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, 1, side, side])],
        [numpy_helper.from_array(weights, "weights")],
    )
    opset = helper.make_opsetid("", 18)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=10), folder / MODEL_FILE)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("segmenter"))


def detailed(size, box):
    """Green and blue stripes with a red box in front."""
    picture = Image.new("RGB", size)
    pen = ImageDraw.Draw(picture)
    for x in range(0, size[0], 8):
        pen.rectangle((x, 0, x + 7, size[1]), fill=(0, 200, 0) if x % 16 else (0, 0, 200))
    pen.rectangle(box, fill=(255, 0, 0))
    return picture


@pytest.mark.parametrize("size", [(96, 160), (160, 96), (128, 128)])
def test_the_mask_lies_where_the_subject_is(folder, size):
    box = (20, 30, 59, 79)
    found = np.asarray(Segmenter(folder)(detailed(size, box)))
    assert found.shape == size[::-1]
    truth = np.zeros(found.shape, bool)
    truth[30:80, 20:60] = True
    assert ((found > 127) ^ truth).mean() < 0.03


@pytest.mark.parametrize("damage", ["file", "nothing", "channels"])
def test_a_folder_without_a_model_is_one_sentence(tmp_path, damage):
    folder = write_model(tmp_path / "segmenter", channels=4 if damage == "channels" else 3)
    if damage == "file":
        (folder / MODEL_FILE).write_bytes(b"\x08\x07no model")
    if damage == "nothing":
        (folder / MODEL_FILE).unlink()
    with pytest.raises(UserError, match="holds no model that `mask` can use"):
        Segmenter(folder)


def call(*words):
    parser = argparse.ArgumentParser()
    mask.add_arguments(parser)
    return mask.run(parser.parse_args([str(word) for word in words]))


def test_the_verb_writes_masks_and_keeps_those_that_are_there(folder, tmp_path, capsys):
    detailed((96, 160), (20, 30, 59, 79)).save(tmp_path / "1.png")
    plain = Image.new("RGB", (96, 160), "white")
    ImageDraw.Draw(plain).rectangle((30, 40, 69, 99), fill="black")
    plain.save(tmp_path / "2.png")
    detailed((96, 160), (0, 0, 0, 0)).save(tmp_path / "3.png")  # nothing that is red
    mine = Image.new("L", (160, 96), 255)
    detailed((160, 96), (20, 30, 59, 79)).save(tmp_path / "4.png")
    mine.save(tmp_path / "4-masklabel.png")
    assert call(tmp_path, "--model", folder) == 0
    printed = capsys.readouterr().out
    assert "No mask for 3.png, so all of it counts: it has a subject that would cover" in printed
    assert "Masks written: 2; there already: 1" in printed
    first = np.asarray(Image.open(tmp_path / "1-masklabel.png"))
    assert first[50, 40] == 255
    assert first[10, 40] == 0
    second = np.asarray(Image.open(tmp_path / "2-masklabel.png"))
    assert second[60, 50] == 255
    assert second[10, 10] == 0
    assert Image.open(tmp_path / "4-masklabel.png").tobytes() == mine.tobytes()
    assert not (tmp_path / "3-masklabel.png").exists()


def test_without_the_model_a_sentence_tells_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    detailed((96, 160), (20, 30, 59, 79)).save(tmp_path / "1.png")
    with pytest.raises(UserError, match=r"python -m lib_rimo mask --fetch"):
        call(tmp_path, "--model", "nobody/no-such-model")
    assert list(tmp_path.iterdir()) == [tmp_path / "1.png"]
