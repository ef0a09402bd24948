import copy
import warnings

import pytest
import torch
from torch import nn

from lib_rimo.errors import UserError
from lib_rimo.lora.delta import (
    form_of,
    is_scalable,
    layer_delta,
    network_type,
    scale_of,
    scaled,
    split_modules,
    weight_delta,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from lycoris import modules as lycoris

LAYERS = {
    "linear": lambda: nn.Linear(24, 48),
    "3x3": lambda: nn.Conv2d(12, 24, 3, padding=1),
    "1x1": lambda: nn.Conv2d(12, 24, 1),
}
LYCORIS = {
    "lora": (lycoris.LoConModule, {}),
    "lora-tucker": (lycoris.LoConModule, {"use_tucker": True}),
    "loha": (lycoris.LohaModule, {}),
    "loha-tucker": (lycoris.LohaModule, {"use_tucker": True}),
    "lokr": (lycoris.LokrModule, {}),
    "lokr-tucker": (lycoris.LokrModule, {"use_tucker": True}),
    "lokr-both": (lycoris.LokrModule, {"decompose_both": True, "factor": 4}),
    "lokr-full": (lycoris.LokrModule, {"full_matrix": True}),
    "dora": (lycoris.LoConModule, {"weight_decompose": True, "wd_on_out": False}),
    "dora-out": (lycoris.LoConModule, {"weight_decompose": True, "wd_on_out": True}),
    "dora-lokr": (lycoris.LokrModule, {"weight_decompose": True, "wd_on_out": False}),
    "ia3": (lycoris.IA3Module, {}),
    "full": (lycoris.FullModule, {}),
    "oft": (lycoris.DiagOFTModule, {"lora_dim": 4, "constraint": 0}),
    "oft-rescaled": (lycoris.DiagOFTModule, {"lora_dim": 4, "rescaled": True}),
    "boft": (lycoris.ButterflyOFTModule, {"lora_dim": 8}),
    "glora": (lycoris.GLoRAModule, {}),
}
BY_RANK = ("lora", "lora-tucker", "loha", "loha-tucker", "lokr", "lokr-tucker", "lokr-both")


def trained(name, layer):
    """One of LyCORIS' modules over a layer, as after some training, and its file's tensors."""
    torch.manual_seed(0)
    kind, arguments = LYCORIS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = kind("key", copy.deepcopy(layer), **{"lora_dim": 2, "alpha": 1, **arguments})
        if name == "full":
            module.apply_to()  # its state dict is one only then
        for parameter in module.parameters():
            nn.init.normal_(parameter, mean=0.1, std=0.3)
        tensors = module.custom_state_dict() or module.state_dict()
    return module, {name: tensor.detach() for name, tensor in tensors.items()}


def with_change(layer, delta):
    """The layer's output with a change of its parameters."""
    bias = layer.bias if delta.bias is None else layer.bias + delta.bias
    parameters = {"weight": layer.weight + delta.weight, "bias": bias}
    return lambda x: torch.func.functional_call(layer, parameters, (x,))


@pytest.fixture(params=LAYERS)
def layer(request):
    torch.manual_seed(1)
    return LAYERS[request.param]().requires_grad_(False)


def example(layer):
    return torch.randn(2, 24) if isinstance(layer, nn.Linear) else torch.randn(2, 12, 5, 5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", LYCORIS)
def test_every_form_changes_a_layer_as_its_trainer_does(name, layer):
    module, tensors = trained(name, layer)
    x = example(layer)
    with torch.no_grad():
        expected = module(x)
    changed = with_change(layer, layer_delta(tensors, layer.weight))
    torch.testing.assert_close(changed(x), expected, rtol=1e-5, atol=1e-5)
    assert (expected - layer(x)).abs().max() > 0.01  # the change is one


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("strength", [0.0, 0.3, -1.5, 1.0])
@pytest.mark.parametrize("name", LYCORIS)
def test_a_scaled_layer_is_the_layer_at_that_strength(name, strength, layer):
    _, tensors = trained(name, layer)
    whole = layer_delta(tensors, layer.weight)
    weighted = layer_delta(scaled(tensors, strength, layer.weight), layer.weight)
    torch.testing.assert_close(weighted.weight, whole.weight * strength, rtol=1e-5, atol=1e-6)
    if whole.bias is not None:
        torch.testing.assert_close(weighted.bias, whole.bias * strength)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", BY_RANK)
def test_only_alpha_takes_up_the_strength_of_forms_with_a_rank(name, layer):
    _, tensors = trained(name, layer)
    weighted = scaled(tensors, 0.7)
    assert weighted["alpha"].dtype == torch.float32
    assert [key for key in tensors if weighted[key] is not tensors[key]] == ["alpha"]
    without_alpha = {key: tensor for key, tensor in tensors.items() if key != "alpha"}
    assert scale_of(without_alpha) == 1
    assert scale_of(scaled(without_alpha, 0.5)) == 0.5


def test_a_dora_needs_its_base_model():
    layer = LAYERS["linear"]().requires_grad_(False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, tensors = trained("dora", layer)
    assert is_scalable(tensors, 1.0)
    assert not is_scalable(tensors, 0.5)
    with pytest.raises(UserError, match="base model"):
        scaled(tensors, 0.5)


def test_fewer_ranks_are_the_first_ones():
    up, down = torch.randn(6, 4), torch.randn(4, 5)
    tensors = {"lora_up.weight": up, "lora_down.weight": down, "alpha": torch.tensor(2.0)}
    change = weight_delta(tensors, torch.zeros(6, 5), dyn=2)
    torch.testing.assert_close(change, up[:, :2] @ down[:2] / 2)


def test_norm_layers_change_weight_and_bias():
    tensors = {"w_norm": torch.ones(8), "b_norm": torch.full((8,), 2.0)}
    delta = layer_delta(scaled(tensors, 0.5), torch.zeros(8))
    assert delta.weight.eq(0.5).all()
    assert delta.bias.eq(1.0).all()


def test_half_precision_files_are_computed_in_float32():
    tensors = {
        "lora_up.weight": torch.randn(6, 4).half(),
        "lora_down.weight": torch.randn(4, 5).half(),
        "alpha": torch.tensor(2.0).half(),
    }
    assert weight_delta(tensors, torch.zeros(6, 5).bfloat16()).dtype == torch.float32


def test_peft_names_the_same_matrices_a_and_b():
    file = {
        "lora_unet_x.lora_A.weight": torch.zeros(2, 5),
        "lora_unet_x.lora_B.weight": torch.ones(6, 2),
    }
    modules = split_modules(file)
    assert form_of(modules["lora_unet_x"]).name == "lora"


def test_an_unknown_form_is_named():
    with pytest.raises(UserError, match="oft_nothing"):
        form_of({"oft_nothing": torch.zeros(1)})


def test_gloras_with_the_matrices_the_other_way_round_are_read_as_the_webui_does():
    names = {"a1.weight": (2, 5), "a2.weight": (5, 2), "b1.weight": (2, 5), "b2.weight": (6, 2)}
    tensors = {name: torch.randn(shape) for name, shape in names.items()}
    base = torch.randn(6, 5)
    a1, a2, b1, b2 = tensors.values()
    expected = b2 @ b1 + base @ a2 @ a1
    alpha = {"alpha": torch.tensor(1.0)}
    torch.testing.assert_close(weight_delta(tensors | alpha, base), expected)
    halved = scaled(tensors | alpha, 0.5)
    torch.testing.assert_close(weight_delta(halved, base), expected / 2)


def test_network_types_are_told_apart():
    def lora(*kernel):
        return {"lora_up.weight": torch.zeros(6, 2), "lora_down.weight": torch.zeros(2, 5, *kernel)}

    assert network_type({"a": lora(), "b": lora(1, 1)}) == "LoRA"
    assert network_type({"a": lora(), "b": lora(3, 3)}) == "LoCon"
    assert network_type({"a": lora() | {"dora_scale": torch.ones(1, 5)}}) == "DoRA"
