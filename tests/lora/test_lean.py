"""Lean layers against PyTorch's own: same values, same gradients, less kept."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from lib_rimo.lora import lean
from lib_rimo.lora.lean import (
    FrozenConv2d,
    LowRank,
    feed_forward,
    geglu,
    low_rank,
    norm_silu,
)


def values_and_gradients(compute, *inputs):
    """The result of `compute` for copies of the inputs, and their gradients for a fixed one."""
    copies = [tensor.clone().requires_grad_() for tensor in inputs]
    result = compute(*copies)
    upstream = torch.randn(result.shape, generator=torch.Generator().manual_seed(5))
    result.backward(upstream.to(result.dtype))
    return [result.detach(), *(copy.grad for copy in copies)]


def kept_bytes(compute, *inputs):
    """Bytes of the distinct tensors that a backward pass through `compute` keeps."""
    kept = {}

    def note(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        compute(*(tensor.clone().requires_grad_() for tensor in inputs))
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def assert_alike(lean, plain, **tolerance):
    for mine, reference in zip(lean, plain, strict=True):
        torch.testing.assert_close(mine, reference, **(tolerance or {"rtol": 1e-4, "atol": 1e-5}))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("transposed", [True, False])
def test_product_of_either_library(bias, transposed, monkeypatch):
    torch.manual_seed(1)
    rows, weight = torch.randn(300, 200), torch.randn(400, 200)
    if transposed:
        weight = weight.t().contiguous().t()
    offset = torch.randn(400) if bias else None
    assert len(rows) * weight.numel() > lean.MUCH_WORK
    for is_amd in (True, False):
        monkeypatch.setattr(lean, "_is_amd", lambda answer=is_amd: answer)
        result = lean.product(rows, weight, offset)
        torch.testing.assert_close(
            result, functional.linear(rows, weight, offset), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("bias", [True, False])
def test_low_rank(bias):
    torch.manual_seed(1)
    x, weight = torch.randn(2, 7, 12), torch.randn(9, 12)
    offset = torch.randn(9) if bias else None
    down, up = torch.randn(3, 12), torch.randn(9, 3)

    def plain(x, down, up):
        return functional.linear(x, weight, offset) + 0.2 * (x @ down.T @ up.T)

    def lean(x, down, up):
        return low_rank(x, LowRank(weight, offset, down, up, 0.2))

    assert_alike(values_and_gradients(lean, x, down, up), values_and_gradients(plain, x, down, up))


@pytest.mark.parametrize("keep", [True, False])
def test_feed_forward(keep):
    torch.manual_seed(1)
    x = torch.randn(2, 7, 6)
    frozen = torch.randn(48, 6), torch.randn(48), torch.randn(6, 24), None
    trained = torch.randn(3, 6), torch.randn(48, 3), torch.randn(2, 24), torch.randn(6, 2)

    def plain(x, down, up, second_down, second_up):
        wide = functional.linear(x, *frozen[:2]) + 0.2 * (x @ down.T @ up.T)
        hidden = geglu_by_the_book(wide)
        return functional.linear(hidden, *frozen[2:]) + 0.3 * (hidden @ second_down.T @ second_up.T)

    def lean(x, down, up, second_down, second_up):
        first = LowRank(*frozen[:2], down, up, 0.2)
        second = LowRank(*frozen[2:], second_down, second_up, 0.3)
        return feed_forward(x, first, second, keep=keep)

    results = [values_and_gradients(compute, x, *trained) for compute in (lean, plain)]
    assert_alike(*results, rtol=1e-3, atol=1e-3)


def test_feed_forward_keeps_its_gate_or_does_not():
    x, widths = torch.randn(2, 7, 6), ((48, 6), (6, 24))
    trained = [torch.randn(*shape) for out, into in widths for shape in ((3, into), (out, 3))]
    frozen = [torch.randn(*width) for width in widths]

    def lean(keep):
        def compute(x, down, up, second_down, second_up):
            first = LowRank(frozen[0], None, down, up, 0.2)
            second = LowRank(frozen[1], None, second_down, second_up, 0.3)
            return feed_forward(x, first, second, keep=keep)

        return compute

    kept = {keep: kept_bytes(lean(keep), x, *trained) for keep in (True, False)}
    assert kept[True] - kept[False] == 2 * 7 * 48 * x.itemsize


def test_low_rank_trains_fp32_matrices_beside_bf16_weights():
    torch.manual_seed(1)
    x, weight, down, up = (torch.randn(*shape) for shape in ((5, 16), (8, 16), (3, 16), (8, 3)))

    def mixed(x, down, up):
        return low_rank(x, LowRank(weight.bfloat16(), None, down, up, 0.5)).float()

    def plain(x, down, up):
        return x @ weight.T + 0.5 * (x @ down.T @ up.T)

    lean = values_and_gradients(mixed, x, down, up)
    assert [tensor.dtype for tensor in lean] == [torch.float32] * 4
    assert_alike(lean, values_and_gradients(plain, x, down, up), rtol=0.05, atol=0.2)


def geglu_by_the_book(x):
    values, gates = x.chunk(2, dim=-1)
    return values * functional.gelu(gates)


def test_geglu():
    torch.manual_seed(1)
    x = torch.randn(2, 5, 12)
    assert_alike(values_and_gradients(geglu, x), values_and_gradients(geglu_by_the_book, x))
    assert kept_bytes(geglu, x) == x.nbytes < kept_bytes(geglu_by_the_book, x)


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
