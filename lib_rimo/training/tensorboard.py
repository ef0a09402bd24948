"""A training's course for TensorBoard, in the folder that kohya's `logging_dir` names."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

from lib_rimo.errors import UserError
from lib_rimo.training.events import Event, Sink


def to_tensorboard(logging_dir: str, log_prefix: str = "") -> Sink:
    """A sink that writes loss and learning rates of every step, under kohya's names of them.

    Each run has a folder of its own, named by prefix and time. Raises UserError where the library
    that writes it is not installed.
    """
    if importlib.util.find_spec("tensorboardX") is None:
        raise UserError(
            "logging_dir is left out, because tensorboardX is not installed here: install it with "
            "pip, or leave logging_dir empty."
        )
    from tensorboardX import SummaryWriter

    folder = Path(logging_dir) / (log_prefix + time.strftime("%Y%m%d%H%M%S"))
    writer = SummaryWriter(str(folder), flush_secs=10)

    def write(event: Event) -> None:
        if event["kind"] == "progress":
            step = event["step"]
            writer.add_scalar("loss/current", event["loss"], step)
            writer.add_scalar("loss/average", event["smoothed_loss"], step)
            for number, rate in enumerate(event["learning_rates"]):
                writer.add_scalar(f"lr/group{number}", rate, step)
        elif event["kind"] in ("finished", "stopped", "failed"):
            writer.close()

    return write
