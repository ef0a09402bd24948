"""Blocks whose weights wait in main memory and visit the GPU while they are computed with.

While a block computes, the next one's weights are copied on a stream of their own, so that the GPU
waits for the first copy alone. Forward that is the block after it, backward, where gradient
checkpointing runs each block again, the one before.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from torch import Tensor, nn


def swappable_blocks(unet: UNet2DConditionModel) -> list[nn.Module]:
    """The transformer blocks, in the order in which they run: SD1 has 16, SDXL 70."""
    parts = [*unet.down_blocks, unet.mid_block, *unet.up_blocks]
    return [
        module
        for part in parts
        for module in part.modules()
        if isinstance(module, BasicTransformerBlock)
    ]


def spread(blocks: Sequence[nn.Module], count: int) -> list[nn.Module]:
    """So many of the blocks, the largest first, as far apart as they can be.

    Between two of them there is time to copy the second.
    """
    by_size: dict[int, list[int]] = {}
    for index, block in enumerate(blocks):
        size = sum(tensor.numel() for tensor in _frozen_tensors(block))
        by_size.setdefault(size, []).append(index)
    chosen: list[int] = []
    for size in sorted(by_size, reverse=True):
        alike = by_size[size]
        some = min(len(alike), count - len(chosen))
        chosen += [alike[turn * len(alike) // some] for turn in range(some)]
    return [blocks[index] for index in sorted(chosen)]


class BlockSwapper:
    """Keeps frozen weights of blocks in main memory; the running one's and the next one's visit.

    What is trained stays on the device. Where that is a CPU, copies are made in plain order: for
    tests, since nothing is gained. The blocks have to run under gradient checkpointing, or what
    they keep for the backward pass would be their weights.
    """

    def __init__(self, blocks: Sequence[nn.Module], device: torch.device) -> None:
        self.device = device
        has_stream = device.type == "cuda"
        self._stream: Any = cast(Any, torch.cuda).Stream(device) if has_stream else None
        self._tensors = [_frozen_tensors(block) for block in blocks]
        self._homes = [[self._home(tensor) for tensor in tensors] for tensors in self._tensors]
        self._visiting: dict[int, list[Tensor]] = {}
        self._last = -1
        for index, block in enumerate(blocks):
            self._assign(index, self._homes[index])
            block.register_forward_pre_hook(partial(self._fetch, index))

    @property
    def visitors(self) -> list[int]:
        """The numbers of the blocks whose weights are on the device, or on the way there."""
        return sorted(self._visiting)

    def _home(self, tensor: Tensor) -> Tensor:
        """A copy in main memory from where a GPU can fetch it by itself."""
        home = tensor.detach().to("cpu")
        return home.pin_memory() if self._stream is not None else home

    def _fetch(self, index: int, _: nn.Module, __: Any) -> None:
        """Before a block runs: see that it is there, and have the next one come."""
        self._start(index)
        if self._stream is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_stream(self._stream)
            for tensor in self._visiting[index]:
                tensor.record_stream(current)  # its memory is not to be reused before
        self._assign(index, self._visiting[index])
        following = index + 1 if index == 0 or index > self._last else index - 1
        self._last = index
        # Not after the block has run: it may be the next one, where the way turns round, and what
        # is computed again stops where enough is known.
        for other in self._visiting.keys() - {index, following}:
            self._assign(other, self._homes[other])
            del self._visiting[other]
        if 0 <= following < len(self._tensors):
            self._start(following)

    def _start(self, index: int) -> None:
        """Begin to copy a block's weights to the device, unless that was done before."""
        if index in self._visiting:
            return
        with torch.cuda.stream(self._stream):  # without a GPU nothing
            self._visiting[index] = [
                home.to(self.device, non_blocking=True, copy=True) for home in self._homes[index]
            ]

    def _assign(self, index: int, weights: Sequence[Tensor]) -> None:
        for tensor, weight in zip(self._tensors[index], weights, strict=True):
            tensor.data = weight


def _frozen_tensors(block: nn.Module) -> list[Tensor]:
    """What is not trained of a block, with the scales of narrow weights."""
    named = (*block.named_parameters(), *block.named_buffers())
    return [tensor for name, tensor in named if ".adapter." not in name]
