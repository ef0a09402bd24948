"""A UNet's modules are solved for, so that they say what another UNet's say."""

from __future__ import annotations

import copy

import torch
from diffusers import UNet2DConditionModel

from lib_rimo.base_model.imitation import _last_layer, imitate


@torch.no_grad()
def test_what_was_lost_is_found_again():
    torch.manual_seed(0)
    source = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(32, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=8,
        attention_head_dim=1,
    ).eval()
    unet = copy.deepcopy(source)
    inputs = {
        "sample": torch.randn(16, 4, 16, 16),
        "timestep": torch.randint(1000, (16,)),
        "encoder_hidden_states": torch.randn(16, 5, 8),
    }
    names = (
        "down_blocks.0.resnets.0",
        "down_blocks.0.downsamplers.0",
        "down_blocks.1.attentions.0",
        "up_blocks.0.upsamplers.0",
    )
    for name in names:
        module = unet.get_submodule(name)
        _last_layer(module).weight.normal_(std=0.1)
    expected, lost = source(**inputs).sample, unet(**inputs).sample
    found = imitate(unet, inputs, source, inputs, {name: name for name in names})
    assert list(found.after) == list(names)
    for name in names:
        assert found.after[name] < 0.1 * found.before[name]
    mended = unet(**inputs).sample  # without any hook left
    assert (mended - expected).square().mean() < 0.02 * (lost - expected).square().mean()
