"""Data-parallel training on the cores of one machine: a process each, one thread in each.

Narrow networks spend their time in many small operations. Two threads that meet after every one of
them train half as fast as two processes that meet once a step, and a busy neighbour stalls them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import start_processes


@dataclass(frozen=True)
class Worker:
    """One of `count` processes that train together."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes states and logs."""
        return self.rank == 0

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace each gradient by its mean over the processes."""
        if self.count == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.count
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def descend(self, optimizer: torch.optim.Optimizer, loss: torch.Tensor, rate: float) -> None:
        """One step of all processes, of the given learning rate, down the mean of their losses."""
        for group in optimizer.param_groups:
            group["lr"] = rate
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        torch.autograd.backward(loss)
        self.average_gradients(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    def wait(self) -> None:
        """Wait until every process has come here."""
        if self.count > 1:
            dist.barrier()


def run_workers(work: Callable[..., None], count: int, *arguments: object) -> None:
    """Run `work(worker, *arguments)` in `count` processes and wait for them."""
    with tempfile.TemporaryDirectory() as folder:
        meeting = Path(folder) / "meeting"
        start_processes(_start, (work, count, str(meeting), arguments), nprocs=count)  # type: ignore[no-untyped-call]


def _start(
    rank: int, work: Callable[..., None], count: int, meeting: str, arguments: tuple[object, ...]
) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # dying activations would slow the arithmetic tenfold
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=count)
    try:
        work(Worker(rank, count), *arguments)
    finally:
        dist.destroy_process_group()
