"""The lean UNet against diffusers' own: the same prediction, the same gradients for the LoRA."""

import pytest
import torch

from lib_rimo.training.network.layers import Form
from lib_rimo.training.network.lean_unet import make_lean
from lib_rimo.training.network.network import Network, Rank
from tests.sd.narrow import narrow_checkpoint

TEXT = {"sd1": 32, "sd2": 64, "sdxl": 96}


def prediction_and_gradients(unet, family, conv_dim, network_type):
    torch.manual_seed(1)
    rank = Rank(dim=3, alpha=2.0, conv_dim=conv_dim)
    network = Network(family, unet, [], lambda block: rank, form=Form(network_type))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    arguments = {"encoder_hidden_states": torch.randn(2, 77, TEXT[family])}
    if family == "sdxl":
        time_ids = torch.tensor([[64.0, 96, 0, 0, 64, 96]] * 2)
        arguments["added_cond_kwargs"] = {"text_embeds": torch.randn(2, 64), "time_ids": time_ids}
    prediction = unet(torch.randn(2, 4, 16, 8), torch.tensor([30, 700]), **arguments).sample
    prediction.square().mean().backward()
    network.detach()
    gradients = [parameter.grad for parameter in network.parameters()]
    return [prediction.detach(), *gradients]


@pytest.mark.parametrize(
    ("family", "conv_dim", "network_type"),
    [
        ("sd1", 0, "lora"),
        ("sd1", 2, "lora"),
        ("sd1", 2, "loha"),
        ("sd2", 0, "lora"),
        ("sdxl", 0, "lora"),
    ],
)
def test_same_prediction_same_gradients(family, conv_dim, network_type):
    unet = narrow_checkpoint(family).unet.requires_grad_(False).train()
    before = prediction_and_gradients(unet, family, conv_dim, network_type)
    make_lean(unet.to(memory_format=torch.channels_last))
    after = prediction_and_gradients(unet, family, conv_dim, network_type)
    assert len(before) == len(after) > 50
    for plain, lean in zip(before, after, strict=True):
        torch.testing.assert_close(lean, plain, rtol=1e-3, atol=2e-6)
