"""Frozen layers against PyTorch's own: same values, same gradients, less kept."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from lib_rimo.training.network.frozen import FrozenConv2d, norm_silu
from tests.training.network.gradients import assert_alike, kept_bytes, values_and_gradients


def frozen(layer):
    return layer.requires_grad_(False).to(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [(4, 5), (12, 16), (24, 16)])  # the last is no product
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (3, 2, 1), (1, 1, 0)])
@pytest.mark.parametrize("bias", [True, False])
def test_convolution(size, kernel, stride, padding, bias):
    torch.manual_seed(1)
    plain = frozen(nn.Conv2d(6, 8, kernel, stride, padding, bias=bias))
    lean = frozen(FrozenConv2d(6, 8, kernel, stride, padding, bias=bias))
    lean.load_state_dict(plain.state_dict())
    x = torch.randn(2, 6, *size)
    assert_alike(values_and_gradients(lean, x), values_and_gradients(plain, x))
    assert kept_bytes(lean, x) == plain.weight.nbytes


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_norm_with_silu(memory_format):
    torch.manual_seed(1)
    norm = nn.GroupNorm(4, 8).requires_grad_(False)
    norm.weight.normal_()
    norm.bias.normal_()
    x = torch.randn(2, 8, 6, 5).to(memory_format=memory_format)

    def plain(x):
        return functional.silu(norm(x))

    def lean(x):
        return norm_silu(x, norm)

    assert_alike(values_and_gradients(lean, x), values_and_gradients(plain, x))
    assert kept_bytes(lean, x) < kept_bytes(plain, x)
