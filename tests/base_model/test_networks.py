"""The base model: SD1's layout, narrow; its autoencoder's stages fit together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from torch.nn import functional
from transformers import CLIPTokenizer

from lib_rimo.base_model.autoencoder import encode_half, make_autoencoder, normalise_latents
from lib_rimo.base_model.diffusion import trained_checkpoint
from lib_rimo.base_model.drawings import make_drawings
from lib_rimo.base_model.latents import tokenize
from lib_rimo.base_model.networks import Networks, make_checkpoint
from lib_rimo.base_model.publish import install_in_webui, publish
from lib_rimo.base_model.stage import Stage
from lib_rimo.sd.checkpoint import Checkpoint, ldm_tensors, load_checkpoint
from lib_rimo.sd.embedded import MODEL
from lib_rimo.sd.tokenizer import clip_tokenizer


@pytest.fixture(scope="module")
def untrained() -> Checkpoint:
    torch.manual_seed(0)
    return make_checkpoint(Networks(), make_autoencoder())


def test_has_all_of_sd1s_blocks(untrained: Checkpoint):
    keys = ldm_tensors(untrained).keys()
    prefix = "model.diffusion_model."
    with_attention = {
        ".".join(key.removeprefix(prefix).split(".")[:2])
        for key in keys
        if key.startswith(prefix) and ".transformer_blocks." in key
    }
    inputs = {f"input_blocks.{n}" for n in (1, 2, 4, 5, 7, 8)}
    outputs = {f"output_blocks.{n}" for n in range(3, 12)}
    assert with_attention == inputs | outputs | {"middle_block.1"}
    for n in range(12):
        assert any(key.startswith(f"{prefix}input_blocks.{n}.") for key in keys)
        assert any(key.startswith(f"{prefix}output_blocks.{n}.") for key in keys)
    text = "cond_stage_model.transformer.text_model.encoder.layers."
    assert {key.split(".")[5] for key in keys if key.startswith(text)} == {
        str(n) for n in range(12)
    }


def test_encoding_halved_pictures_is_encoding_pictures():
    autoencoder = make_autoencoder().eval()
    pictures = torch.rand(1, 3, 64, 48) * 2 - 1
    with torch.no_grad():
        whole = autoencoder.encode(pictures).latent_dist.mean
        half = encode_half(autoencoder, functional.avg_pool2d(pictures, 2)).mean
    assert torch.allclose(whole, half, atol=1e-5)


def test_normalised_latents_have_unit_variance():
    torch.manual_seed(0)
    autoencoder = make_autoencoder().eval()
    pixels = make_drawings(32, seed=5, size=(64, 96)).pixels
    normalise_latents(autoencoder, pixels)
    pictures = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        latents = encode_half(autoencoder, functional.avg_pool2d(pictures, 2)).mean * 0.18215
    assert latents.mean().abs() < 1e-3
    assert abs(latents.std() - 1) < 0.01


def test_text_encoders_mean_is_not_zero(untrained: Checkpoint):
    states = untrained.text_encoders[0](tokenize(["1girl, solo"]).long()).last_hidden_state
    assert states.mean() > 0.1


def test_file_gives_back_the_model(untrained: Checkpoint, tmp_path):
    path = tmp_path / "model.safetensors"
    publish(untrained, path)
    loaded = load_checkpoint(path)
    before, after = ldm_tensors(untrained), ldm_tensors(loaded)
    assert before.keys() == after.keys()
    for key, tensor in before.items():
        assert torch.equal(tensor.half().float(), after[key]), key
    assert loaded.unet.config.attention_head_dim == (2, 2, 2, 2)
    assert loaded.text_encoders[0].config.num_attention_heads == 4


@pytest.mark.skipif(not MODEL.exists(), reason="the base model is not there yet")
def test_mended_autoencoder_goes_with_the_networks_that_it_stays_near(untrained, tmp_path):
    networks = Networks()
    networks.unet, networks.text_encoders[0] = untrained.unet, untrained.text_encoders[0]
    stage = Stage(tmp_path, "diffusion")
    with pytest.raises(FileNotFoundError):
        trained_checkpoint(stage, untrained.vae)
    stage.save({"networks": networks.state_dict(), "steps": 0}, "start")  # no step trained yet
    kept = trained_checkpoint(stage, untrained.vae).unet.state_dict()
    assert all(torch.equal(kept[key], value) for key, value in untrained.unet.state_dict().items())


def test_published_model_loads_and_is_small():
    assert MODEL.stat().st_size < 48e6
    checkpoint = load_checkpoint(MODEL)
    assert checkpoint.family == "sd1"
    assert checkpoint.prediction_type == "epsilon"


def test_webui_finds_clip_by_its_full_path(untrained: Checkpoint, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "webui").mkdir()
    publish(untrained, tmp_path / "model" / "base.safetensors")
    install_in_webui(tmp_path / "webui", tmp_path / "model" / "base.safetensors")
    config = yaml.safe_load((tmp_path / "webui" / "base.yaml").read_text())
    clip = Path(config["model"]["params"]["cond_stage_config"]["params"]["version"])
    assert clip.is_absolute()
    tokenizer = CLIPTokenizer.from_pretrained(clip, local_files_only=True)
    prompt = "1girl, solo, rimochan"
    assert tokenizer(prompt).input_ids == clip_tokenizer()(prompt).input_ids
    assert json.loads((clip / "config.json").read_text())["hidden_size"] == 64
