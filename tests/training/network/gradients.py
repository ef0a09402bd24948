"""What a function gives and keeps, to compare a lean one with a plain one."""

import torch


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
