"""What LyCORIS and kohya's trainer add to a plain LoRA: dropouts, LoRA+, longest changes."""

import pytest
import torch
from torch import nn

from lib_rimo.training.caption_encoder import CaptionEncoder
from lib_rimo.training.denoiser import Denoiser
from lib_rimo.training.network.layers import Form, LoRA, TimestepRanks
from lib_rimo.training.network.lycoris import adapt
from lib_rimo.training.network.network import Network, Rank
from lib_rimo.training.network.norms import limit_norm
from tests.sd.narrow import narrow_checkpoint


def lora(**form):
    torch.manual_seed(0)
    layer = nn.Linear(6, 5)
    made = LoRA(layer, 4, 2.0, Form(**form))
    nn.init.normal_(made.lora_up.weight)
    return made.train()


def test_rank_dropout_drops_ranks_picture_by_picture_and_keeps_the_mean():
    plain, dropping = lora(), lora(rank_dropout=0.5)
    x = torch.randn(64, 3, 6)
    torch.manual_seed(1)
    changes = torch.stack([dropping(x) for _ in range(200)])
    assert changes.std(dim=0).min() > 0
    torch.testing.assert_close(changes.mean(dim=0), plain(x), atol=0.6, rtol=0.3)
    assert torch.equal(dropping.eval()(x), plain(x))


def test_ranks_follow_the_timestep_picture_by_picture_while_training():
    ranks = TimestepRanks(1, 1.0)
    ranks.follow(torch.tensor([999, 667, 500, 0]))
    assert ranks.kept(4).sum(dim=1).tolist() == [1, 1, 2, 4]  # 1 + floor(3 * (1 - t / 1000))
    assert ranks.kept(4)[2].tolist() == [1, 1, 0, 0]
    steep = TimestepRanks(0, 2.0)
    steep.follow(torch.tensor([500]))
    assert steep.kept(8).sum() == 2
    made, plain = lora(), lora()
    made.ranks = ranks
    x = torch.randn(4, 3, 6)
    with torch.no_grad():
        expected = [
            plain.lora_up(plain.lora_down(part) * kept) * plain.scale
            for part, kept in zip(x, ranks.kept(4), strict=True)
        ]
        torch.testing.assert_close(made(x), torch.stack(expected))
    made(x[:1].expand(4, 3, 6)).square().sum().backward()
    ranks.follow(torch.tensor([999] * 4))
    made.zero_grad()
    made(x).square().sum().backward()
    assert made.lora_down.weight.grad[1:].eq(0).all()
    assert made.lora_down.weight.grad[0].any()
    assert torch.equal(made.eval()(x), plain(x))  # when drawing all of them act


def test_only_a_unets_ranks_follow_and_its_convolutions_do_too():
    checkpoint = narrow_checkpoint("sd1")
    network = Network(
        "sd1",
        checkpoint.unet,
        checkpoint.text_encoders,
        lambda block: Rank(4, 4.0, conv_dim=2),
        form=Form(tlora_min_rank=2),
    )
    for key, layer in network.layers.items():
        assert (layer.adapter.ranks is network.ranks) == key.startswith("lora_unet")
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1)
    checkpoint.unet.train()
    inputs = [torch.randn(2, 4, 8, 8), torch.tensor([999, 0])]
    caption_encoder = CaptionEncoder(checkpoint)
    text = torch.randint(0, 49408, (2, 1, 77))
    prediction = Denoiser(caption_encoder, network.ranks)(*inputs, text)
    network.ranks.follow(torch.zeros(2))
    all_ranks = checkpoint.unet(*inputs, **caption_encoder.read(text)).sample
    assert torch.allclose(prediction[1], all_ranks[1], atol=1e-4)
    assert not torch.allclose(prediction[0], all_ranks[0], atol=1e-4)


def test_module_dropout_drops_the_whole_change_now_and_then():
    dropping = lora(module_dropout=0.5)
    x = torch.randn(2, 6)
    torch.manual_seed(1)
    zeros = sum(not dropping(x).any() for _ in range(200))
    assert 70 < zeros < 130
    assert dropping.eval()(x).any()


@pytest.mark.parametrize("network_type", ["lora", "loha", "lokr", "dora"])
def test_a_change_is_shortened_to_its_longest(network_type):
    torch.manual_seed(0)
    frozen = nn.Linear(8, 6, bias=False)
    form = Form(network_type, factor=2)
    layer = adapt(frozen, form=form, key="x", dim=2, alpha=1.0)
    for parameter in layer.adapter.parameters():
        if parameter.dim() > 1 and network_type != "dora":
            nn.init.normal_(parameter)
    if network_type == "dora":
        nn.init.normal_(layer.adapter.lora_up.weight)
        nn.init.normal_(layer.adapter.lora_down.weight)

    def change():
        if network_type == "dora":  # whose output has magnitudes of its own
            return (layer.adapter.make_weight() * layer.adapter.scale).norm().item()
        unit = torch.eye(8)
        return (layer(unit) - frozen(unit)).norm().item()

    before = change()
    limit_norm(layer.adapter, before * 2)
    assert change() == pytest.approx(before)
    limit_norm(layer.adapter, before / 4)
    assert change() == pytest.approx(before / 4, rel=1e-3)


def test_lora_plus_teaches_the_second_matrix_faster():
    unet = narrow_checkpoint("sd1").unet
    network = Network("sd1", unet, [], lambda block: Rank(2, 1.0))
    groups = network.parameter_groups(lambda key: 0.1, lambda key: 16.0)
    rates = {group["lr"]: sum(p.numel() for p in group["params"]) for group in groups}
    assert set(rates) == {0.1, 1.6}
    ups = sum(layer.adapter.lora_up.weight.numel() for layer in network.layers.values())
    assert rates[1.6] == ups
    (group,) = network.parameter_groups(lambda key: 0.1)
    assert group["lr"] == 0.1
