"""Runs a trainer, unchanged, and writes down when its steps begin and end.

    python benchmarks/marked.py MARKS (-m MODULE | SCRIPT) [ARGUMENT ...]

Knows no trainer, so that ours and the peer's are measured alike: the first forward pass of a model
that records gradients begins the first step, every step of the optimizer ends one. Each mark is a
line of JSON in the file MARKS. Needs PyTorch alone, for it runs in the peer's environment too.
"""

import json
import runpy
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_post_hook


def main() -> None:
    """Set the marks and run the trainer in this process, as Python would."""
    path, *sys.argv = sys.argv[1:]
    set_marks(Path(path))
    if sys.argv[0] == "-m":
        del sys.argv[0]
        sys.path[0] = ""
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = str(Path(sys.argv[0]).parent)
        runpy.run_path(sys.argv[0], run_name="__main__")


def set_marks(path: Path) -> None:
    """Have PyTorch tell where steps begin and end."""

    def mark(**values: object) -> None:
        if torch.cuda.is_initialized():
            # Since the mark before; also waits until the GPU has done what it was given.
            torch.cuda.synchronize()
            # What PyTorch holds, for a recorded step lives in memory that counts as free.
            values["gpu"] = torch.cuda.max_memory_reserved()
            torch.cuda.reset_peak_memory_stats()
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": time.time(), **values}) + "\n")

    def begin(module: torch.nn.Module, _arguments: Any) -> None:
        # Pictures are encoded without gradients; what else prepares them has no parameters.
        if torch.is_grad_enabled() and any(True for _ in module.parameters()):
            hook.remove()
            mark(torch=torch.__version__)

    hook = register_module_forward_pre_hook(begin)
    register_optimizer_step_post_hook(lambda *_arguments: mark())


if __name__ == "__main__":
    main()
