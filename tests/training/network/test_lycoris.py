"""LyCORIS' algorithms: what is trained is what is saved, read back and gone on from."""

import math

import pytest
import torch
from torch import nn

from lib_rimo.errors import UserError
from lib_rimo.lora.delta import layer_delta, network_type
from lib_rimo.training.config.declared.network import NETWORK_TYPES
from lib_rimo.training.config.options import TrainingOptions, check_values
from lib_rimo.training.network.layers import Form
from lib_rimo.training.network.lean_unet import make_lean
from lib_rimo.training.network.lycoris import adapt, load_values
from lib_rimo.training.network.network import Network, Parameters, Rank
from tests.sd.narrow import narrow_checkpoint

FORMS = {
    **{name: {"network_type": name} for name in NETWORK_TYPES},
    "scalar": {"use_scalar": True},
    "loha, scalar": {"network_type": "loha", "use_scalar": True},
    "glora, scalar": {"network_type": "glora", "use_scalar": True},
    "loha, tucker": {"network_type": "loha", "use_tucker": True},
    "loha, decomposed": {"network_type": "loha", "dora_wd": True},
    "lokr, decomposed": {"network_type": "lokr", "dora_wd": True, "factor": 2},
    "diag-oft, rescaled": {"network_type": "diag-oft", "rescaled": True, "constraint": 0.5},
    "rs_lora": {"rs_lora": True},
}
NETWORKS = {
    "loha, scalar": FORMS["loha, scalar"],
    "full": FORMS["full"],
    "norms": {"train_norm": True},
}
NAMES = {"diag-oft": "OFT", "boft": "BOFT", "ia3": "IA3", "full": "full", "glora": "GLoRA"}


def attach(**form):
    checkpoint = narrow_checkpoint("sd1")
    network = Network(
        "sd1",
        checkpoint.unet,
        checkpoint.text_encoders,
        lambda block: Rank(4, 2.0, conv_dim=4, conv_alpha=2.0),
        form=Form(**form),
    )
    return checkpoint, network


def layers():
    torch.manual_seed(0)
    return [nn.Linear(12, 8), nn.Conv2d(6, 8, 3, padding=1), nn.Conv2d(6, 8, 1, bias=False)]


def inputs():
    torch.manual_seed(1)
    return [torch.randn(2, 12), torch.randn(2, 6, 5, 5), torch.randn(2, 6, 5, 5)]


def teach(adapter, layer, x):
    """Some steps: with a scalar of 0 the matrices have no gradient at first."""
    wanted = torch.randn_like(layer(x))  # of any length: OFT leaves lengths as they are
    optimizer = torch.optim.Adam(adapter.parameters(), lr=0.05)
    for _ in range(6):
        optimizer.zero_grad()
        (layer(x) - wanted).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("name", FORMS)
def test_what_is_trained_is_what_the_file_says(name):
    form = Form(**FORMS[name])
    for number, x in enumerate(inputs()):
        frozen = layers()[number].requires_grad_(False)
        made = {"form": form, "key": "x_to_k", "dim": 4, "alpha": 2.0}
        layer = adapt(frozen, **made)
        plain = frozen(x)
        torch.testing.assert_close(layer(x), plain, atol=1e-5, rtol=1e-4)
        teach(layer.adapter, layer, x)
        trained = layer(x).detach()
        assert (trained - plain).abs().max() > 1e-3
        tensors = {name: tensor.detach() for name, tensor in layer.adapter.state_dict().items()}

        # A base model that takes the change up, as a WebUI does.
        changed = layers()[number].requires_grad_(False)
        change = layer_delta(tensors, changed.weight)
        changed.weight += change.weight
        if change.bias is not None:
            changed.bias += change.bias
        torch.testing.assert_close(changed(x), trained, atol=1e-5, rtol=1e-4)
        if name in NAMES:
            assert network_type({"x": tensors}) == NAMES[name]

        again = adapt(layers()[number].requires_grad_(False), **made)
        load_values(again.adapter, tensors)
        torch.testing.assert_close(again(x), trained, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_goes_on_from_a_file_and_from_a_state(name):
    checkpoint, network = attach(**NETWORKS[name])
    checkpoint.unet.train()
    make_lean(checkpoint.unet.to(memory_format=torch.channels_last))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(2):
        latents, text = torch.randn(1, 4, 8, 8), torch.randn(1, 77, 32)
        checkpoint.unet(latents, torch.tensor([500]), text).sample.square().sum().backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    of_unet = [key for key in network.layers if key.startswith("lora_unet")]
    for key in of_unet:  # of those that nothing depends on yet some do not move
        assert network.layers[key].adapter.training
    tensors = network.tensors()
    assert sum(bool(tensor.any()) for tensor in tensors.values()) > len(of_unet)
    _, again = attach(**NETWORKS[name])
    again.load_tensors(tensors)
    for key, tensor in again.tensors().items():
        torch.testing.assert_close(tensor, tensors[key], atol=1e-6, rtol=1e-5)
    _, again = attach(**NETWORKS[name])
    Parameters(again).load_state_dict(Parameters(network).state_dict())
    for one, two in zip(again.parameters(), network.parameters(), strict=True):
        assert torch.equal(one, two)


def test_ia3_trains_what_its_authors_do():
    _, network = attach(network_type="ia3")
    ends = {key.rpartition("attn")[2].lstrip("12") for key in network.layers if "attn" in key}
    assert ends == {"_to_k", "_to_v", "_k_proj", "_v_proj"}
    others = [key for key in network.layers if "attn" not in key]
    assert all(key.endswith(("ff_net_2", "mlp_fc2")) for key in others)
    for key, layer in network.layers.items():
        assert bool(layer.adapter.on_input) == (key in others)


def test_norms_of_attentions_and_with_conv_dim_of_residual_blocks():
    _, network = attach(train_norm=True)
    norms = {
        key
        for key in network.layers
        if "w_norm" in dict(network.layers[key].adapter.named_parameters())
    }
    assert "lora_unet_mid_block_resnets_0_norm2" in norms
    assert "lora_unet_mid_block_attentions_0_transformer_blocks_0_norm3" in norms
    assert not any("te_" in key or "conv_norm_out" in key for key in norms)
    plain = Network(
        "sd1",
        narrow_checkpoint("sd1").unet,
        [],
        lambda block: Rank(4, 2.0),
        form=Form(train_norm=True),
    )
    assert not any("resnets" in key for key in plain.layers)


def test_rs_lora_counts_by_the_root_of_the_rank():
    layer = nn.Linear(6, 5)
    adapter = adapt(layer, form=Form(rs_lora=True), key="x", dim=4, alpha=3.0).adapter
    assert adapter.scale == pytest.approx(3.0 / math.sqrt(4))
    assert float(adapter.alpha) == pytest.approx(6.0)


@pytest.mark.parametrize(
    ("options", "about"),
    [
        ({"network_type": "ia3", "use_scalar": True}, "use_scalar"),
        ({"network_type": "full", "scale_weight_norms": 1.0}, "scale_weight_norms"),
        ({"constraint": 1.0}, "constraint"),
        ({"network_type": "loha", "tlora_min_rank": 0}, "tlora_min_rank"),
        ({"dora_wd": True}, "dora_wd"),
        ({"full_bf16": True, "mixed_precision": "fp16"}, "full_bf16"),
    ],
)
def test_options_of_other_types_are_refused(options, about):
    with pytest.raises(UserError) as told:
        check_values(TrainingOptions(**options))
    assert [message.about for message in told.value.messages] == [about]
