"""Products of either library."""

import pytest
import torch
from torch.nn import functional

from lib_rimo.training.network import products


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("transposed", [True, False])
def test_product_of_either_library(bias, transposed, monkeypatch):
    torch.manual_seed(1)
    rows, weight = torch.randn(300, 200), torch.randn(400, 200)
    if transposed:
        weight = weight.t().contiguous().t()
    offset = torch.randn(400) if bias else None
    assert len(rows) * weight.numel() > products.MUCH_WORK
    for is_amd in (True, False):
        monkeypatch.setattr(products, "_is_amd", lambda answer=is_amd: answer)
        result = products.product(rows, weight, offset)
        torch.testing.assert_close(
            result, functional.linear(rows, weight, offset), rtol=1e-4, atol=1e-4
        )
