"""The training's curves beside the model: `curves.csv` and a chart of it."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from matplotlib.figure import Figure

from lib_rimo.base_model.stage import Stage

Curve = list[tuple[int, float]]  # (step, loss)


def read_curve(stage: Stage) -> Curve:
    """A stage's losses; of steps that were done again after an interruption, the last."""
    path = stage.folder / "curve.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        losses = {int(float(row["step"])): float(row["loss"]) for row in csv.DictReader(file)}
    return sorted(losses.items())


def unpack_curves(stages: list[Stage], folder: Path) -> None:
    """Give stages back the curves that were written, for those that go on from there."""
    with (folder / "curves.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for stage in stages:
        for row in rows:
            if row["stage"] == stage.name:
                stage.log(step=float(row["step"]), loss=float(row["loss"]), rate=math.nan)


def write_curves(stages: list[Stage], folder: Path) -> None:
    """Write the losses of all stages that have any as one table and one chart."""
    curves = {stage.name: curve for stage in stages if (curve := read_curve(stage))}
    with (folder / "curves.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("stage", "step", "loss"))
        for name, curve in curves.items():
            writer.writerows((name, step, f"{loss:.5g}") for step, loss in curve)
    figure = Figure(figsize=(2.6 * len(curves), 2.4), layout="constrained")
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for panel, (name, curve) in zip(panels, curves.items(), strict=True):
        panel.plot(*zip(*curve, strict=True), color="#8e5bd6", linewidth=1.2)
        panel.set_yscale("log")
        panel.set_title(name, fontsize=9)
        panel.set_xlabel("step", fontsize=8)
        panel.tick_params(labelsize=7)
        panel.grid(alpha=0.15)
    figure.savefig(folder / "curves.png", dpi=100)
