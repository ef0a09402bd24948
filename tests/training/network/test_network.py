"""The keys and tensors of a trained network against what the field's programs expect."""

import pytest
import torch
from diffusers import UNet2DConditionModel

from lib_rimo.errors import UserError
from lib_rimo.lora.keys import unet_key
from lib_rimo.training.network.layers import Form
from lib_rimo.training.network.network import Network, Rank
from tests.sd.narrow import narrow_checkpoint

PLAIN = Rank(dim=4, alpha=2.0)


def make(family="sd1", rank=PLAIN, **settings):
    checkpoint = narrow_checkpoint(family)
    network = Network(
        family, checkpoint.unet, checkpoint.text_encoders, lambda block: rank, **settings
    )
    return checkpoint, network


@pytest.fixture(scope="module")
def full_sd1_unet():
    with torch.device("meta"):
        return UNet2DConditionModel(
            sample_size=64,
            block_out_channels=(320, 640, 1280, 1280),
            cross_attention_dim=768,
            attention_head_dim=8,
        )


def test_sd1_has_the_192_unet_layers_of_every_kohya_lora(full_sd1_unet):
    network = Network("sd1", full_sd1_unet, [], lambda block: PLAIN)
    assert len(network.layers) == 192
    assert "lora_unet_mid_block_attentions_0_proj_in" in network.layers
    assert (
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_ff_net_0_proj" in network.layers
    )
    network.detach()
    assert not any("adapter" in name for name, _ in full_sd1_unet.named_modules())


def test_sdxl_keys_are_ldm_names():
    name = "up_blocks.0.attentions.1.transformer_blocks.0.attn1.to_out.0"
    expected = "lora_unet_output_blocks_1_1_transformer_blocks_0_attn1_to_out_0"
    assert unet_key("sdxl", name) == expected
    _, network = make("sdxl")
    assert {key.split("_text_model")[0] for key in network.layers if "te" in key[:8]} == {
        "lora_te1",
        "lora_te2",
    }


def test_conv_dim_reaches_the_residual_blocks():
    _, plain = make()
    _, locon = make(rank=Rank(dim=4, alpha=2.0, conv_dim=2, conv_alpha=1.0))
    more = locon.layers.keys() - plain.layers.keys()
    assert more
    assert all(
        part in "resnets downsamplers upsamplers"
        for part in {k.split("_")[5] for k in more if "mid" not in k}
    )
    conv = locon.tensors()["lora_unet_down_blocks_0_resnets_0_conv1.lora_down.weight"]
    assert conv.shape[0] == 2
    assert conv.shape[2:] == (3, 3)
    time = locon.tensors()["lora_unet_down_blocks_0_resnets_0_time_emb_proj.lora_down.weight"]
    assert time.shape[0] == 4


@pytest.mark.parametrize("network_type", ["lora", "loha", "lokr", "dora"])
def test_an_untrained_network_changes_nothing(network_type):
    checkpoint = narrow_checkpoint("sd1")
    inputs = torch.randn(1, 4, 8, 8), torch.tensor([500]), torch.randn(1, 77, 32)
    with torch.no_grad():
        before = checkpoint.unet(*inputs).sample
        network = Network("sd1", checkpoint.unet, [], lambda b: PLAIN, form=Form(network_type))
        after = checkpoint.unet(*inputs).sample
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    assert sum(parameter.numel() for parameter in network.parameters()) > 0


def test_blocks_have_their_own_ranks():
    checkpoint = narrow_checkpoint("sd1")
    network = Network(
        "sd1",
        checkpoint.unet,
        checkpoint.text_encoders,
        lambda block: Rank(dim=8 if block == "IN04" else 0, alpha=1.0),
    )
    assert {network.block_of(key) for key in network.layers} == {"IN04"}


def test_values_go_out_and_in_again():
    _, network = make()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    tensors = network.tensors()
    _, other = make()
    other.load_tensors(tensors)
    for name, tensor in other.tensors().items():
        assert torch.equal(tensor, tensors[name])
    _, smaller = make(rank=Rank(dim=2, alpha=2.0))
    with pytest.raises(UserError, match="other layers or ranks"):
        smaller.load_tensors(tensors)
    of_another_alpha = {
        name: tensor * 2 if name.endswith(".alpha") else tensor for name, tensor in tensors.items()
    }
    with pytest.raises(UserError, match="give the alphas that it was trained with"):
        other.load_tensors(of_another_alpha)
