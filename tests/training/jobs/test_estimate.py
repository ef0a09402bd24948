"""Time and memory before the start, on models that are nothing but a header."""

import dataclasses
import json
from pathlib import Path

import pytest

from lib_rimo.errors import UserError
from lib_rimo.messages import Message
from lib_rimo.training.config.options import TrainingOptions
from lib_rimo.training.jobs import estimate as module
from lib_rimo.training.jobs.estimate import estimate, learn_speed, read_model
from lib_rimo.training.jobs.machine import Machine

UNET = "model.diffusion_model."
SHAPES = {
    f"{UNET}input_blocks.0.0.weight": (320, 4, 3, 3),
    f"{UNET}input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight": (320, 320),
    f"{UNET}input_blocks.11.0.out_layers.3.weight": (1280, 1280, 3, 3),
    f"{UNET}middle_block.1.transformer_blocks.0.attn2.to_k.weight": (1280, 768),
    f"{UNET}output_blocks.11.1.transformer_blocks.0.ff.net.2.weight": (320, 1280),
    "cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight": (3072, 768),
    "cond_stage_model.transformer.text_model.final_layer_norm.weight": (768,),
    "first_stage_model.encoder.down.0.block.0.conv1.weight": (128, 128, 3, 3),
}


@pytest.fixture
def machine(monkeypatch):
    machine = Machine("cuda", Message("a GPU"), 8e9, 1e12)
    monkeypatch.setattr(module, "this_machine", lambda device: machine)
    return machine


@pytest.fixture
def options(tmp_path):
    path = tmp_path / "model.safetensors"
    write_header(path, SHAPES)
    return TrainingOptions(pretrained_model_name_or_path=str(path))


def write_header(path, shapes):
    header = {
        key: {"dtype": "F16", "shape": shape, "data_offsets": [0, 0]}
        for key, shape in shapes.items()
    }
    text = json.dumps({"__metadata__": {}, **header}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)


def test_work_is_counted_at_each_layers_resolution(options, tmp_path):
    model = read_model(tmp_path / "model.safetensors", "512")
    cells = 64 * 64
    assert model.unet_work == (
        320 * 4 * 9 * cells
        + 320 * 320 * cells
        + 2 * cells * cells * 320  # the self-attention itself
        + 1280 * 1280 * 9 * cells / 64  # three times halved
        + 1280 * 768 * 77  # keys of the text
        + 320 * 1280 * cells
    )
    assert model.text_work == 77 * 3072 * 768
    assert model.native == 512


def test_a_measured_speed_replaces_the_guess(options, machine, tmp_path):
    guess = estimate(options, tmp_path)
    assert guess.text.startswith("Very roughly")
    learn_speed(options, 2.0, tmp_path)
    measured = estimate(options, tmp_path)
    assert measured.text.startswith("About")
    assert measured.seconds == pytest.approx(2.0 * options.max_train_steps)
    half = dataclasses.replace(options, max_train_steps=500)
    assert estimate(half, tmp_path).seconds == pytest.approx(1000)
    full = dataclasses.replace(options, mixed_precision="no")
    assert estimate(full, tmp_path).text.startswith("Very roughly")  # that speed is another


def test_each_picture_is_encoded_once(options, machine, tmp_path):
    learn_speed(options, 2.0, tmp_path)
    folder = tmp_path / "pictures" / "10_rimochan"
    folder.mkdir(parents=True)
    for number in range(3):
        (folder / f"{number}.png").write_bytes(b"")
    model = read_model(tmp_path / "model.safetensors", options.resolution)
    speed = 2 * module.work_of_step(model, options) / (2.0 - module.STEP_OVERHEAD[machine.kind])
    encoding = 2 * 128 * 128 * 9 * 512 * 512 / speed
    for flip_aug, times in ((False, 3), (True, 6)):
        with_pictures = dataclasses.replace(
            options, train_data_dir=str(folder.parent), flip_aug=flip_aug
        )
        seconds = estimate(with_pictures, tmp_path).seconds
        assert seconds == pytest.approx(2.0 * options.max_train_steps + times * encoding)


def test_what_cannot_fit_is_said_with_the_cheapest_change(options, machine, tmp_path, monkeypatch):
    options.train_batch_size = 64
    need = estimate(options, tmp_path).memory
    tight = dataclasses.replace(machine, memory=need - 1)
    monkeypatch.setattr(module, "this_machine", lambda device: tight)
    advised = estimate(options, tmp_path)
    assert not advised.fits
    assert (
        advised.messages[1]
        .text()
        .startswith("It cannot fit as it is. With gradient_checkpointing true it")
    )
    tiny = dataclasses.replace(machine, memory=1e6)
    monkeypatch.setattr(module, "this_machine", lambda device: tiny)
    assert "even with gradient_checkpointing true" in estimate(options, tmp_path).text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a .safetensors model"),
        (b"PK\x03\x04 a pickle in a zip file", "not a .safetensors model"),
        ((2).to_bytes(8, "little") + b"{}", "not a Stable Diffusion checkpoint"),
    ],
)
def test_other_files_are_no_base_models(tmp_path, content, said):
    path = tmp_path / "other.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match=said):
        read_model(path)


@pytest.mark.parametrize("text", ["big", "512,512,512", "0", "450,700"])
def test_a_resolution_that_is_none(options, text):
    path = Path(options.pretrained_model_name_or_path)
    with pytest.raises(UserError, match=r'such as "448,704"'):
        read_model(path, text)
    assert read_model(path, "448X704") == read_model(path, "448,704")


def test_the_forward_passes_of_a_prior_are_counted(options, tmp_path):
    model = read_model(tmp_path / "model.safetensors", "512")
    plain = dataclasses.replace(options, text_encoder_lr=0.0)
    held = dataclasses.replace(plain, masked_training=True, masked_prior_preservation_weight=1.0)
    without = module.work_of_step(model, plain)
    assert module.work_of_step(model, held) == pytest.approx(1.25 * without)
    held.masked_training = False  # then there is no outside
    assert module.work_of_step(model, held) == without
