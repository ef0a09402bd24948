"""Low-rank layers against PyTorch's own: same values, same gradients, less kept."""

from functools import partial

import pytest
import torch
from torch.nn import functional

from lib_rimo.training.network import low_rank as low_rank_module
from lib_rimo.training.network.low_rank import (
    LowRank,
    Norm,
    feed_forward,
    geglu,
    low_rank,
    projections,
)
from tests.training.network.gradients import assert_alike, kept_bytes, values_and_gradients


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


@pytest.mark.parametrize("bias", [True, False])
def test_projections_of_a_normed_input(bias):
    torch.manual_seed(1)
    x, weights = torch.randn(2, 7, 12), torch.randn(3, 9, 12)
    norm = Norm(torch.randn(12), torch.randn(12) if bias else None, 1e-3)
    trained = [torch.randn(*shape) for _ in weights for shape in ((3, 12), (9, 3))]

    def plain(x, *trained):
        normed = functional.layer_norm(x, (12,), *norm)
        pairs = zip(weights, trained[::2], trained[1::2], strict=True)
        return torch.cat([normed @ (w.T + 0.2 * down.T @ up.T) for w, down, up in pairs])

    def lean(x, *trained, norm=norm):
        pairs = zip(weights, trained[::2], trained[1::2], strict=True)
        return torch.cat(projections(x, norm, [LowRank(w, None, *pair, 0.2) for w, *pair in pairs]))

    results = [values_and_gradients(compute, x, *trained) for compute in (lean, plain)]
    assert_alike(*results, rtol=1e-3, atol=1e-4)
    kept = [kept_bytes(partial(lean, norm=each), x, *trained) for each in (norm, None)]
    assert kept[0] - kept[1] == sum(part.nbytes for part in norm[:2] if part is not None)


def test_projections_give_what_is_needed_alone():
    x, weight = torch.randn(5, 12), torch.randn(9, 12)
    down, up = torch.randn(3, 12), torch.randn(9, 3, requires_grad=True)
    norm = Norm(None, None, 1e-5)
    projections(x, norm, [LowRank(weight, None, down, up, 0.2)])[0].sum().backward()
    expected = 0.2 * (functional.layer_norm(x, (12,)) @ down.T).sum(0).expand(9, 3)
    torch.testing.assert_close(up.grad, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("keep", [True, False])
def test_feed_forward(keep, monkeypatch):
    monkeypatch.setattr(low_rank_module, "FEW_ROWS", 4)
    torch.manual_seed(1)
    norm = Norm(torch.randn(6), torch.randn(6), 1e-3)
    x = torch.randn(2, 7, 6)
    frozen = torch.randn(48, 6), torch.randn(48), torch.randn(6, 24), None
    trained = torch.randn(3, 6), torch.randn(48, 3), torch.randn(2, 24), torch.randn(6, 2)

    def plain(x, down, up, second_down, second_up):
        normed = functional.layer_norm(x, (6,), *norm)
        wide = functional.linear(normed, *frozen[:2]) + 0.2 * (normed @ down.T @ up.T)
        hidden = geglu_by_the_book(wide)
        return functional.linear(hidden, *frozen[2:]) + 0.3 * (hidden @ second_down.T @ second_up.T)

    def lean(x, down, up, second_down, second_up):
        first = LowRank(*frozen[:2], down, up, 0.2)
        second = LowRank(*frozen[2:], second_down, second_up, 0.3)
        return feed_forward(x, norm, first, second, keep=keep)

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
            return feed_forward(x, Norm(None, None, 1e-5), first, second, keep=keep)

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
