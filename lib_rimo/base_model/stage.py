"""Stages of a long training: their state on disk, and a progress bar with the time left."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from lib_rimo.files import written_beside


def cosine_rate(peak: float, step: int, steps: int, warm_up: int) -> float:
    """The learning rate at `step` of `steps`: up to `peak`, then to zero as a cosine falls."""
    return peak * min(1.0, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * step / steps))


class Stage:
    """One stage's folder: its state (resumed from, written whole or not at all) and its log."""

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self.folder = root / name
        self.folder.mkdir(parents=True, exist_ok=True)

    def load(self, name: str = "state") -> dict[str, Any] | None:
        """The last saved state, or None before the first."""
        if not self.has(name):
            return None
        state: dict[str, Any] = torch.load(self._path(name), weights_only=False)
        return state

    def has(self, name: str) -> bool:
        """Whether such a state was saved."""
        return self._path(name).exists()

    def save(self, state: dict[str, Any], name: str = "state") -> None:
        """Write a state, whole or not at all."""
        with written_beside(self._path(name)) as beside:
            torch.save(state, beside)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.pt"

    def log(self, **values: float) -> None:
        """Append a row to the stage's curve, `curve.csv`."""
        path = self.folder / "curve.csv"
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(values.keys())
            writer.writerow(f"{value:.6g}" for value in values.values())

    def steps(self, start: int, end: int, *, visible: bool = True) -> Iterator[int]:
        """Count steps from `start` to `end`, with a progress bar and the time left."""
        return iter(
            tqdm(
                range(start, end), self.name, total=end, initial=start, mininterval=10, ncols=80,
                disable=not visible,
            )
        )  # fmt: skip
