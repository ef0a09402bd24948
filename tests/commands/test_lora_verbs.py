import argparse

import pytest
from PIL import Image

from lib_rimo.commands import convert, edit, extract, merge, resize
from lib_rimo.errors import UserError
from lib_rimo.lora.files import read_lora, write_lora
from tests.sd.narrow import random_lora, write_narrow_checkpoint


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    path = tmp_path_factory.mktemp("place")
    checkpoint = write_narrow_checkpoint(path / "model.safetensors", "sd1")
    write_lora(path / "rimochan.safetensors", random_lora(checkpoint)[0], {"ss_network_dim": "4"})
    write_lora(path / "dora.safetensors", random_lora(checkpoint, "dora")[0], {})
    return path


def call(verb, *words):
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    return verb.run(parser.parse_args([str(word) for word in words]))


def test_the_tools_write_files_that_the_next_tool_reads(place, tmp_path, capsys):
    rimochan = place / "rimochan.safetensors"
    both, small, there = (tmp_path / f"{name}.safetensors" for name in ("both", "small", "there"))
    tags = ("<lora:rimochan:0.8:MIDD>", place / "dora.safetensors")
    words = (both, *tags, "--lora-dir", place, "--model", place / "model.safetensors")
    assert call(merge, *words) == 0
    assert call(resize, both, small, "--error", 0.2, "--precision", "fp16") == 0
    assert call(convert, small, there, "--to", "peft") == 0
    Image.new("RGB", (64, 64)).save(tmp_path / "cover.png")
    assert call(edit, there, "--trigger", "rimochan", "--cover", tmp_path / "cover.png") == 0
    printed = capsys.readouterr().out
    assert "2 LoRAs in one" in printed
    assert "kept" in printed
    assert "unet.mid_block.attentions.0.proj_in.lora_A.weight" in read_lora(there).tensors
    assert (tmp_path / "there.json").exists()
    assert small.stat().st_size < both.stat().st_size
    assert rimochan.exists()


@pytest.mark.parametrize(
    ("verb", "words", "sentence"),
    [
        (resize, ("rimochan.safetensors", "out.safetensors"), "how many ranks"),
        (resize, ("rimochan.safetensors", "out.safetensors", "--dim", 0), "--dim is 0"),
        (resize, ("rimochan.safetensors", "out.safetensors", "--error", "nan"), "--error is nan"),
        (resize, ("rimochan.safetensors", "out.ckpt", "--dim", 2), "has to end with .safetensors"),
        (resize, ("model.safetensors", "out.safetensors", "--dim", 2), "cannot be used"),
        (resize, ("dora.safetensors", "out.safetensors", "--dim", 2), "give the base model"),
        (
            merge,
            ("out.safetensors", "<lora:rimochan:1:0,R,R,R,R,R,R,R,R,R,R,R,R,R,R,R,R>"),
            "Random weights",
        ),
        (merge, ("out.safetensors", "nothing.safetensors"), "There is no LoRA file"),
        (extract, ("model.safetensors",) * 2 + ("out.safetensors", "--dim", 2), "do not differ"),
        (
            extract,
            ("model.safetensors", "rimochan.safetensors", "o.safetensors", "--dim", 2),
            "Stable Diffusion",
        ),
        (convert, ("dora.safetensors", "o.safetensors", "--to", "peft"), "a length for each input"),
        (edit, ("rimochan.safetensors",), "Say what to change"),
        (edit, ("rimochan.safetensors", "--cover", "dora.safetensors"), "no picture"),
    ],
)
def test_what_a_tool_cannot_do_is_one_sentence_and_no_file(
    place, tmp_path, monkeypatch, verb, words, sentence
):
    monkeypatch.chdir(tmp_path)
    for file in place.iterdir():
        (tmp_path / file.name).symlink_to(file)
    before = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(UserError, match=sentence):
        call(verb, *words)
    assert {path.name for path in tmp_path.iterdir()} == before
