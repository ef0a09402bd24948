"""Gradient checkpointing: what a backward pass needs is computed again rather than kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

Recompute = Callable[..., Any]

KEPT = [torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default]
"""What gradient checkpointing does not compute again: a CPU's attention takes long over a large map
and gives no more than its input is."""


def recompute_large_activations(
    unet: UNet2DConditionModel,
    family: str,
    *,
    is_random: bool,
    swapped: bool = False,
    cpu_offload: bool = False,
) -> None:
    """Gradient checkpointing where it saves the most for its time; where blocks are `swapped`, all.

    In SD1 and SD2 the transformers of the finest level keep about half of all and do little of the
    work; in SDXL the many transformers of coarser levels keep it, so all is computed again.
    Only what `is_random`, as dropout is, needs the random numbers' state, which a recording for
    replay may not ask for. With `cpu_offload` what goes into each part waits in main memory.
    """
    recompute: Recompute = partial(checkpoint, use_reentrant=False, preserve_rng_state=is_random)
    if unet.device.type == "cpu" and not swapped:
        kept = partial(create_selective_checkpoint_contexts, KEPT)
        recompute = partial(recompute, context_fn=kept)
    if cpu_offload:
        recompute = partial(_recompute_from_cpu, recompute)
    unet.enable_gradient_checkpointing(recompute)
    if family == "sdxl" or swapped:
        return
    finest = unet.config.block_out_channels[0]
    for module in unet.modules():
        if hasattr(module, "gradient_checkpointing"):
            is_transformer = isinstance(module, Transformer2DModel)
            module.gradient_checkpointing = is_transformer and module.in_channels == finest


def _recompute_from_cpu(
    recompute: Recompute, function: Callable[..., Any], x: Tensor, *rest: Any
) -> Any:
    """Checkpoint `function(x, *rest)`, with x (B, ...) kept in main memory meanwhile.

    The first run takes x itself and lets go of it; the one for the backward pass brings the copy
    back. That needs only x's values, for the graph is the first run's.
    """
    waiting, device, requires_grad = _in_main_memory(x.detach()), x.device, x.requires_grad
    given = [x]

    def run(*arguments: Any) -> Any:
        if given:
            return function(given.pop(), *arguments)
        return function(_on_device(waiting, device).requires_grad_(requires_grad), *arguments)

    return recompute(run, *rest)


def _in_main_memory(x: Tensor) -> Tensor:
    """A copy that a GPU writes, and can read, by itself."""
    copy = torch.empty_like(x, device="cpu", pin_memory=x.device.type == "cuda")
    return copy.copy_(x, non_blocking=True)


def _on_device(copy: Tensor, device: torch.device) -> Tensor:
    return copy.to(device, non_blocking=True).detach()
