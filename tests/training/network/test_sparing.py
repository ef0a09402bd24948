"""Weights in 8 bits, blocks that wait in main memory, inputs that wait there: same results."""

import pytest
import torch
from torch import nn

from lib_rimo.training.network.checkpointing import recompute_large_activations
from lib_rimo.training.network.lean_unet import make_lean
from lib_rimo.training.network.narrow import FP8, LARGEST, narrow_unet, narrowed, widened
from lib_rimo.training.network.network import Network, Rank
from lib_rimo.training.network.swapping import BlockSwapper, spread, swappable_blocks
from tests.sd.narrow import narrow_checkpoint

CPU = torch.device("cpu")


def trained(family, *, swapped=0, offloads=False, narrow=None):
    """(prediction, gradients, blocks on the device at each block's start) of the second step."""
    checkpoint = narrow_checkpoint(family)
    unet = checkpoint.unet
    if narrow is not None:
        narrow_unet(unet, narrow, CPU)
    torch.manual_seed(0)
    network = Network(family, unet, [], lambda block: Rank(4, 2.0, 2, 1.0))
    for parameter in network.adapters.parameters():
        nn.init.normal_(parameter, std=0.05)
    make_lean(unet)
    unet.train()
    recompute_large_activations(
        unet, family, is_random=False, swapped=bool(swapped), cpu_offload=offloads
    )
    seen = []
    if swapped:
        chosen = spread(swappable_blocks(unet), swapped)
        swapper = BlockSwapper(chosen, CPU)
        for block in chosen:
            block.register_forward_pre_hook(lambda *_: seen.append(len(swapper.visitors)))
    width = unet.config.cross_attention_dim
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(2, 4, 16, 16, generator=generator)
    text = torch.randn(2, 77, width, generator=generator)
    added = {"text_embeds": torch.ones(2, 64), "time_ids": torch.ones(2, 6)}
    for _ in range(2):
        network.zero_grad()
        output = unet(latents, 500, encoder_hidden_states=text, added_cond_kwargs=added).sample
        output.square().mean().backward()
    gradients = [parameter.grad for parameter in network.adapters.parameters()]
    return output.detach(), torch.cat([part.flatten() for part in gradients]), seen


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_what_waits_in_main_memory_changes_nothing(family):
    plain, gradients, _ = trained(family)
    for few in (3, 99):
        same, alike, seen = trained(family, swapped=few, offloads=True)
        assert torch.equal(same, plain)
        assert torch.equal(alike, gradients)
        assert set(seen) == {1, 2}  # the one that runs and the next, but at the ends


def test_blocks_to_swap_are_the_largest_and_far_apart():
    blocks = [nn.Linear(2, size) for size in (1, 9, 9, 9, 9, 9, 9, 1)]
    assert [blocks.index(block) for block in spread(blocks, 3)] == [1, 3, 5]
    assert spread(blocks, 7) == blocks[:7]
    assert spread(blocks, 99) == blocks


@pytest.mark.parametrize(("dtype", "most"), [(FP8, 2**-4), (torch.int8, 0.5 / 127)])
def test_narrow_weights_are_near(dtype, most):
    weight = torch.randn(64, 32, 3, 3) * torch.logspace(-6, 2, 64)[:, None, None, None]
    weight[5] = 0
    stored, scale = narrowed(weight, dtype)
    assert stored.dtype == dtype
    assert scale.shape == (64, 1, 1, 1)
    assert stored.float().abs().max() == LARGEST[dtype]
    error = (widened(stored, scale, torch.float32) - weight).abs()
    # fp8 is exact to a share of the value, int8 to one of the output's largest.
    of = weight.abs() + scale * 2**-9 if dtype == FP8 else weight.abs().amax((1, 2, 3), True)
    assert (error <= most * of * 1.01).all()


@pytest.mark.parametrize(("dtype", "least"), [(FP8, 0.97), (torch.int8, 0.99)])
def test_a_narrow_unet_learns_nearly_the_same(dtype, least):
    plain, gradients, _ = trained("sdxl")
    near, alike, _ = trained("sdxl", narrow=dtype)
    assert nn.functional.cosine_similarity(near.flatten(), plain.flatten(), dim=0) > 0.99
    assert nn.functional.cosine_similarity(alike, gradients, dim=0) > least
    swapped = trained("sdxl", narrow=dtype, swapped=5, offloads=True)
    assert torch.equal(swapped[1], alike)
