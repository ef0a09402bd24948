"""SDXL's networks begin as the SD1 model's, as far as both have the same."""

from __future__ import annotations

import pytest
import torch

from lib_rimo.base_model import transplant as module
from lib_rimo.base_model.autoencoder import make_autoencoder, scaled
from lib_rimo.base_model.latents import tokenize
from lib_rimo.base_model.networks import Networks, make_checkpoint, read_captions
from lib_rimo.base_model.publish import publish
from lib_rimo.base_model.transplant import copied
from lib_rimo.sd.checkpoint import Checkpoint, ldm_tensors, load_checkpoint
from lib_rimo.sd.embedded import MODEL
from lib_rimo.sd.text_encoders import CLIP_END

ATTENTION = "down_blocks.1.attentions.0.transformer_blocks.0.attn2"


@pytest.fixture(scope="module")
def sd1() -> Checkpoint:
    return load_checkpoint(MODEL)


@pytest.fixture(scope="module")
def sdxl(sd1: Checkpoint) -> Networks:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CAPTIONS", 32)
        return copied(sd1).eval()


@torch.no_grad()
def test_attention_gets_of_a_caption_what_it_got(sd1: Checkpoint, sdxl: Networks):
    tokens = tokenize(["1girl, solo, red hair, twintails, kimono, sitting, outdoors, beach"]).long()
    old, new = sd1.unet.get_submodule(ATTENTION), sdxl.unet.get_submodule(ATTENTION)
    before = old.to_v(sd1.text_encoders[0](tokens).last_hidden_state)
    after = new.to_v(read_captions("sdxl", list(sdxl.text_encoders), tokens).states)
    passed_on = new.to_out[0](after) - old.to_out[0](before)
    assert passed_on.square().mean() < 0.1 * old.to_out[0](before).var()


@torch.no_grad()
def test_sizes_and_summary_say_nothing_yet(sdxl: Networks):
    torch.manual_seed(0)
    latents, states = torch.randn(1, 4, 16, 16), torch.randn(1, 77, 128)
    outputs = [
        sdxl.unet(
            latents, 500, states, added_cond_kwargs={"text_embeds": summary, "time_ids": sizes}
        ).sample
        for summary, sizes in (
            (torch.zeros(1, 64), torch.zeros(1, 6)),
            (torch.ones(1, 64), torch.full((1, 6), 128.0)),
        )
    ]
    assert torch.equal(*outputs)


def test_captions_end_as_each_encoder_was_made_for(sdxl: Networks, monkeypatch):
    seen = []

    def note(family, encoder, tokens):
        seen.append(tokens[0])
        return torch.ones(len(tokens), 77, 64), torch.ones(len(tokens), 64)

    monkeypatch.setattr("lib_rimo.base_model.networks.encode_tokens", note)
    read = read_captions("sdxl", list(sdxl.text_encoders), tokenize(["1girl", ""]).long())
    assert [int(tokens[-1]) for tokens in seen] == [CLIP_END, 0]
    assert seen[1].tolist().count(CLIP_END) == 1
    assert read.states[0].all()
    assert not read.states[1].any()
    assert not read.pooled[1].any()


def test_file_gives_back_the_model(tmp_path):
    torch.manual_seed(0)
    untrained = make_checkpoint(Networks("sdxl"), make_autoencoder())
    path = tmp_path / "model.safetensors"
    publish(untrained, path)
    assert path.stat().st_size < 48e6
    loaded = load_checkpoint(path)
    assert loaded.family == "sdxl"
    assert (loaded.prediction_type, loaded.prediction_source) == ("epsilon", "stated")
    assert [each.config.num_attention_heads for each in loaded.text_encoders] == [4, 4]
    before, after = ldm_tensors(untrained), ldm_tensors(loaded)
    assert before.keys() == after.keys()
    for key, tensor in before.items():
        assert torch.equal(tensor.half().float(), after[key]), key


@torch.no_grad()
def test_scaled_autoencoder_gives_the_same_latents_and_pictures():
    torch.manual_seed(0)
    one = make_autoencoder().eval()
    other = scaled(one, 0.13025)
    pictures = torch.rand(1, 3, 32, 32) * 2 - 1
    means, deviations, decoded = [], [], []
    for model in (one, other):
        factor = model.config.scaling_factor
        found = model.encode(pictures).latent_dist
        means.append(found.mean * factor)
        deviations.append(found.std * factor)
        decoded.append(model.decode(means[0] / factor).sample)
    for pair in (means, deviations, decoded):
        assert torch.allclose(*pair, atol=1e-4, rtol=1e-4)
    assert other.config.scaling_factor == 0.13025
