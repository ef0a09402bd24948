"""The tagger, with a model that is as sure of a tag as the picture is of its colour."""

import argparse
import csv

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from lib_rimo.commands import tag
from lib_rimo.errors import UserError
from lib_rimo.training.data.tagger import MODEL, MODEL_FILE, TAGS_FILE, Tagger

ROWS = [("blue_hair", 0), ("green_eyes", 0), ("red_dress", 0), ("^_^", 0), ("miku", 4), ("safe", 9)]


def write_model(folder, rows=ROWS, side=16, outputs=None):
    """Tags for blue, green and red, then three for blue: the mean colour, BGR from 0 to 1."""
    folder.mkdir(exist_ok=True)
    weights = np.zeros((3, outputs or len(rows)), np.float32)
    for number in range(weights.shape[1]):
        weights[number if number < 3 else 0, number] = 20 / 255
    offset = np.full(weights.shape[1], -10, np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["picture", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["product"]),
        helper.make_node("Add", ["product", "offset"], ["sum"]),
        helper.make_node("Sigmoid", ["sum"], ["tags"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tagger",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["n", side, side, 3])],
        [helper.make_tensor_value_info("tags", TensorProto.FLOAT, ["n", weights.shape[1]])],
        [
            numpy_helper.from_array(np.array([1, 2]), "axes"),
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(offset, "offset"),
        ],
    )
    opset = helper.make_opsetid("", 18)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
    onnx.save(model, folder / MODEL_FILE)
    with (folder / TAGS_FILE).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["tag_id", "name", "category", "count"])
        writer.writerows([number, name, kind, 1] for number, (name, kind) in enumerate(rows))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("tagger"))


def test_a_pictures_tags_are_those_of_its_colours(folder):
    tagger = Tagger(folder)
    assert tagger.caption(Image.new("RGB", (30, 30), "red")) == "red dress"
    blue = Image.new("RGB", (30, 30), (0, 0, 255))
    assert tagger.caption(blue) == "blue hair, ^_^, miku"
    assert tagger.caption(blue, character_threshold=1.1) == "blue hair, ^_^"
    assert [found.kind for found in tagger.tags(blue)].count("rating") == 1


def test_pictures_stand_on_white_in_a_square(folder):
    tagger = Tagger(folder)
    clear = Image.new("RGBA", (10, 40), (0, 0, 255, 0))
    sure = {found.name: found.probability for found in tagger.tags(clear)}
    assert min(sure["red dress"], sure["green eyes"], sure["blue hair"]) > 0.99


@pytest.mark.parametrize("damage", ["model", "tags", "columns", "count", "nothing"])
def test_a_folder_without_a_tagger_is_one_sentence(tmp_path, damage):
    folder = write_model(tmp_path / "tagger", outputs=7 if damage == "count" else None)
    if damage == "model":
        (folder / MODEL_FILE).write_bytes(b"\x08\x07no model")
    if damage == "tags":
        (folder / TAGS_FILE).write_bytes(b"\xff\xfe\x00")
    if damage == "columns":
        (folder / TAGS_FILE).write_text("a,b\n1,2\n")
    if damage == "nothing":
        (folder / MODEL_FILE).unlink()
    with pytest.raises(UserError, match="holds no model that `tag` can use"):
        Tagger(folder)


def test_a_model_is_fetched_on_request_only(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="--fetch"):
        MODEL.folder("nobody/no-such-tagger")
    assert list(tmp_path.iterdir()) == []


def call(*words):
    parser = argparse.ArgumentParser()
    tag.add_arguments(parser)
    return tag.run(parser.parse_args([str(word) for word in words]))


def test_the_verb_writes_captions_where_there_are_none(folder, tmp_path, capsys):
    Image.new("RGB", (20, 20), "red").save(tmp_path / "1.png")
    Image.new("RGB", (20, 20), "blue").save(tmp_path / "2.png")
    (tmp_path / "2.txt").write_text("mine")
    (tmp_path / "3.png").write_bytes(b"nothing")
    assert call(tmp_path, "--model", folder, "--trigger", "rimochan") == 0
    assert (tmp_path / "1.txt").read_text() == "rimochan, red dress\n"
    assert (tmp_path / "2.txt").read_text() == "mine"
    printed = capsys.readouterr().out
    assert "3.png cannot be read" in printed
    assert "1 captions written; 1 were there already" in printed
    assert call(tmp_path, "--model", folder, "--overwrite") == 0
    assert (tmp_path / "2.txt").read_text() == "blue hair, ^_^, miku\n"
