"""A training's loss and learning rate as files for other programs."""

from __future__ import annotations

import base64
import csv
import io
import tempfile
from pathlib import Path

from lib_rimo.errors import UserError
from lib_rimo.training.jobs.progress import Point
from lib_rimo.training.tensorboard import to_tensorboard

COLUMNS = ("step", "loss", "smoothed_loss", "learning_rate")


def as_csv(curve: list[Point]) -> str:
    """One line a step."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(curve)
    return text.getvalue()


def as_event_file(curve: list[Point]) -> tuple[str, bytes]:
    """Name and content of a TensorBoard event file. Raises UserError where it cannot be written."""
    with tempfile.TemporaryDirectory() as folder:
        write = to_tensorboard(folder)
        for step, loss, smoothed, rate in curve:
            write(
                {
                    "kind": "progress",
                    "step": step,
                    "loss": loss,
                    "smoothed_loss": smoothed,
                    "learning_rates": [rate],
                }
            )
        write({"kind": "finished"})
        files = sorted(Path(folder).rglob("events.out.tfevents.*"))
        if not files:
            raise UserError("TensorBoard's library wrote no file: install tensorboardX anew.")
        return files[0].name, files[0].read_bytes()


def curve_file(name: str, curve: list[Point], kind: str) -> dict[str, str]:
    """The file for the browser: its name, and its content in base64."""
    if kind == "csv":
        file, content = f"{name}-loss.csv", as_csv(curve).encode()
    else:
        file, content = as_event_file(curve)
    return {"name": file, "content": base64.b64encode(content).decode()}
