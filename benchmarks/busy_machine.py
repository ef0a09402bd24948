"""Seconds a training step takes, alone and beside others, by how long waiting threads spin.

python -m benchmarks.busy_machine --spins none 20000 1000 0 --at-once 1 3
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lib_rimo.environment import ROOT

MODEL = ROOT / "lib_rimo/demo/model/rimo-base.safetensors"
PICTURES = ROOT / "lib_rimo/demo/rimochan"


def seconds(spin: str, at_once: int, steps: int, folder: Path) -> float:
    """Wall time of `at_once` trainings of so many steps, started together."""
    environment = {**os.environ, "RIMO_ENVIRONMENT": "current"}
    environment.pop("GOMP_SPINCOUNT", None)
    if spin != "none":
        environment["GOMP_SPINCOUNT"] = spin
    started = time.perf_counter()
    trainings = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "lib_rimo", "train", "--device", "cpu"),
                *("--pretrained_model_name_or_path", str(MODEL)),
                *("--train_data_dir", str(PICTURES), "--resolution", "128,192"),
                *("--output_dir", str(folder), "--output_name", f"{spin}-{at_once}-{steps}-{n}"),
                *("--max_train_steps", str(steps)),
            ],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for n in range(at_once)
    ]
    codes = [training.wait() for training in trainings]
    if any(codes):
        sys.exit(f"a training ended with {codes}")
    return time.perf_counter() - started


def main() -> None:
    """Print a table; a step is what so many more steps take, so that starts do not count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spins", nargs="+", default=["none", "20000", "1000", "0"])
    parser.add_argument("--at-once", nargs="+", type=int, default=[1, 3])
    parser.add_argument("--steps", type=int, default=40)
    given = parser.parse_args()
    print(f"load before: {os.getloadavg()[0]:.1f}; {os.cpu_count()} processors")
    print("spin count", *(f"{n} at once" for n in given.at_once), sep="\t")
    for spin in given.spins:
        row = []
        for at_once in given.at_once:
            with tempfile.TemporaryDirectory() as folder:
                few, many = (
                    seconds(spin, at_once, steps, Path(folder)) for steps in (5, 5 + given.steps)
                )
            row.append(f"{(many - few) / given.steps:.2f} s")
        print(spin, *row, sep="\t", flush=True)


if __name__ == "__main__":
    main()
