"""Time and memory of a training: Rimo's, beside kohya's sd-scripts.

    python -m benchmarks.training --model FILE [--kohya DIR --python PY] [--resolution 256,256 ...]

Makes twenty pictures, then trains the recipe on them for a few steps in each trainer, every time in
a new process: ours, theirs, theirs, ours, ... so that what else the machine does falls on both
alike. Prints a table: median (least - most) of the runs, and what is compared within each pair.
Steps in which other programs took more than a little of the processor do not count, unless all are.

    python -m benchmarks.training --model FILE --recipe "few pictures, backgrounds kept"

puts one of our recipes in the peer's place: what its options cost beside the author's recipe.

    python -m benchmarks.training --model FILE --sweep resolution

draws how time and memory of ours grow, as `benchmarks/training-resolution.svg`.
"""

import argparse
import dataclasses
import itertools
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from matplotlib.figure import Figure

from benchmarks import marked
from benchmarks.figures import spread, this_machine
from lib_rimo.demo.rimochan_pictures import FOLDER, TRIGGER
from lib_rimo.environment import ROOT
from lib_rimo.sd import tokenizer
from lib_rimo.training.augment.augmentation import augment
from lib_rimo.training.config.built_in import BUILT_IN

GIB = 2**30
SAMPLE_SECONDS = 0.02
DISTURBED = 0.1  # share of the processor's work that others did
SWEEPS: dict[str, list[str]] = {
    "resolution": ["256,256", "320,320", "384,384", "448,448", "512,512"],
    "batch": ["1", "2", "3", "4"],
    "dim": ["2", "10", "32", "128"],
    "pictures": ["5", "10", "20", "40"],
}


@dataclass(frozen=True)
class Case:
    """What is trained; what is not said here is the recipe's."""

    resolution: str = "256,256"
    precision: str = "no"
    checkpointing: str = "no"
    batch: int = 2
    dim: int = 10
    pictures: int = 20

    def __str__(self) -> str:
        precision = "fp32" if self.precision == "no" else self.precision
        suffix = ", gradient checkpointing" if self.checkpointing == "yes" else ""
        return f"{self.resolution.replace(',', 'x')} {precision}{suffix}"

    @property
    def epoch(self) -> int:
        """Steps that see all pictures once; in the first of them Rimo encodes them."""
        return -(-self.pictures // self.batch)

    def options(self, model: Path, pictures: Path, output: Path, steps: int) -> list[str]:
        """The recipe as options that both trainers know by the same names."""
        options = {
            "pretrained_model_name_or_path": model.resolve(),
            "train_data_dir": pictures,
            "caption_extension": ".txt",
            "output_dir": output,
            "output_name": TRIGGER,
            "resolution": self.resolution,
            "max_train_steps": steps,
            "train_batch_size": self.batch,
            "optimizer_type": "Lion",
            "unet_lr": 5e-5,
            "text_encoder_lr": 2e-5,
            "lr_scheduler": "cosine_with_restarts",
            "network_dim": self.dim,
            "network_alpha": 2,
            "mixed_precision": self.precision,
            "save_precision": "fp16",
            "seed": 1,
        }
        words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
        return words + ["--gradient_checkpointing"] * (self.checkpointing == "yes")


@dataclass(frozen=True)
class Sample:
    """A process at a moment: its memory; its seconds of computing, and all programs'."""

    time: float
    memory: int
    own: float
    all: float


@dataclass(frozen=True)
class Run:
    """What was seen of one training; `marks` are those of `marked`."""

    case: Case
    started: float
    marks: Sequence[Mapping[str, Any]]
    samples: Sequence[Sample]

    def __str__(self) -> str:
        steps = " ".join(f"{end - begin:.2f}" for begin, end in self.steps)
        return f"steps of {steps} s, {len(self.calm_steps)} of {len(self.steps)} undisturbed"

    @property
    def torch(self) -> str:
        """PyTorch's version."""
        return str(self.marks[0]["torch"])

    @property
    def steps(self) -> list[tuple[float, float]]:
        """Begin and end of each step after the first epoch."""
        return list(itertools.pairwise(mark["time"] for mark in self.marks[self.case.epoch :]))

    @property
    def calm_steps(self) -> list[tuple[float, float]]:
        """Those that nothing disturbed."""
        return [step for step in self.steps if self.others_share(*step) < DISTURBED]

    def computed(self, begin: float, end: float) -> tuple[float, float]:
        """Seconds of computing in a span of time: its own, and all programs'."""
        first, last = self.sample_at(begin), self.sample_at(end)
        return last.own - first.own, last.all - first.all

    def sample_at(self, moment: float) -> Sample:
        """The first look at the process from a moment on."""
        return next((s for s in self.samples if s.time >= moment), self.samples[-1])

    def others_share(self, begin: float, end: float) -> float:
        """How much of what the processor did was for other programs."""
        own, everyone = self.computed(begin, end)
        return 1 - own / everyone if everyone else 0.0

    def figures(self) -> dict[str, float]:
        """What the table tells."""
        begun, end = self.marks[0]["time"], self.marks[-1]["time"]
        early = [sample.memory for sample in self.samples if sample.time < begun]
        late = [sample.memory for sample in self.samples if begun <= sample.time <= end]
        steps = self.calm_steps or self.steps
        figures = {
            "seconds a step": median(end - begin for begin, end in steps),
            "seconds computed a step": median(self.computed(*step)[0] for step in steps),
            "peak memory while training, GiB": max(late) / GIB,
            "peak memory at start, GiB": max(early) / GIB,
            "start to first step, s": begun - self.started,
        }
        if "gpu" in self.marks[0]:
            training = max(mark["gpu"] for mark in self.marks[1:])
            figures["peak GPU memory while training, GiB"] = training / GIB
            figures["peak GPU memory at start, GiB"] = self.marks[0]["gpu"] / GIB
        return figures


class Bench:
    """Trains cases, each in a process of its own, on pictures that it makes."""

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        self.arguments, self.folder = arguments, folder
        self.count = 0
        self.environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as it is on a user's machine
        if arguments.threads:
            self.environment["OMP_NUM_THREADS"] = str(arguments.threads)
        # Where kohya looks for it before it asks the hub.
        write_tokenizer(folder / "tokenizer/openai_clip-vit-large-patch14")

    def ours(self, case: Case, *more: str) -> Run:
        """Train a case with Rimo, with more options if there are any."""
        command = ["-m", "lib_rimo", "train", "--events", "json", *more]
        # The libraries are those that run this script.
        return self._run(case, sys.executable, command, ROOT, {"RIMO_ENVIRONMENT": "current"})

    def with_recipe(self, case: Case) -> Run:
        """Train a case with Rimo by the recipe of `--recipe`, on the same pictures."""
        return self.ours(case, "--recipe", self.arguments.recipe)

    def theirs(self, case: Case) -> Run:
        """Train a case with kohya's trainer, at its leanest: no second process loads pictures."""
        kohya = self.arguments.kohya.resolve()
        command = [str(kohya / "train_network.py"), "--network_module", "networks.lora", "--sdpa"]
        command += ["--cache_latents", "--max_data_loader_n_workers", "0"]
        command += ["--tokenizer_cache_dir", str(self.folder / "tokenizer")]
        # Not resolved: it is a link, and where it lies says whose libraries it uses.
        python = str(self.arguments.python.absolute())
        return self._run(case, python, command, kohya, {})

    def _run(
        self,
        case: Case,
        python: str,
        command: Sequence[str],
        cwd: Path,
        environment: Mapping[str, str],
    ) -> Run:
        self.count += 1
        marks, log = self.folder / f"{self.count}.marks", self.folder / f"{self.count}.log"
        steps = case.epoch + self.arguments.steps
        pictures = self._pictures(case)
        options = case.options(self.arguments.model, pictures, self.folder / f"{self.count}", steps)
        full = [python, str(Path(marked.__file__)), str(marks), *command, *options]
        with log.open("w", encoding="utf-8") as output:
            started = time.time()
            process = psutil.Popen(
                full,
                cwd=cwd,
                env={**self.environment, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            samples = watch(process)
        found = [json.loads(line) for line in marks.open()] if marks.exists() else []
        if process.wait() != 0 or len(found) != 1 + steps:
            sys.exit(f"{log.read_text('utf-8')[-4000:]}\n{shlex.join(full)} failed, see above.")
        return Run(case, started, found, samples)

    def _pictures(self, case: Case) -> Path:
        folder = self.folder / f"{case.pictures}-{case.resolution}"
        if not folder.exists():
            augment(FOLDER, folder, count=case.pictures, resolution=case.resolution, name=TRIGGER)
        return folder


def write_tokenizer(folder: Path) -> None:
    """Write CLIP's tokenizer as every transformers reads it."""
    folder.mkdir(parents=True)
    merges = (Path(tokenizer.__file__).parent / "merges.txt").read_text("utf-8")
    files = {
        "vocab.json": json.dumps(tokenizer.vocabulary()),
        "merges.txt": "#version: 0.2\n" + merges,
        "tokenizer_config.json": json.dumps({"model_max_length": 77}),
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


def watch(process: psutil.Popen) -> list[Sample]:
    """Look at a process until it ends."""
    samples = []
    while process.poll() is None:
        try:
            memory, times = process.memory_info().rss, process.cpu_times()
        except (psutil.NoSuchProcess, psutil.ZombieProcess):  # it ends right now
            break
        everyone = psutil.cpu_times()
        # Time of virtual machines is counted twice: as theirs and as their owner's.
        idle = sum(
            getattr(everyone, name, 0.0) for name in ("idle", "iowait", "guest", "guest_nice")
        )
        own = times.user + times.system
        samples.append(Sample(time.time(), memory, own, sum(everyone) - idle))
        time.sleep(SAMPLE_SECONDS)
    return samples


def compare(bench: Bench, cases: Sequence[Case], pairs: int) -> None:
    """Train the cases in both trainers, round by round, and print the table."""
    trainers = {"Rimo": bench.ours}
    if bench.arguments.recipe:
        trainers = {bench.arguments.recipe: bench.with_recipe, "the author's": bench.ours}
    elif bench.arguments.kohya:
        trainers["kohya"] = bench.theirs
    runs: dict[tuple[Case, str], list[Run]] = {}
    for number, case in itertools.product(range(pairs), cases):
        for name in list(trainers) if number % 2 == 0 else reversed(trainers):
            run = trainers[name](case)
            runs.setdefault((case, name), []).append(run)
            print(f"{case}, {name}: {run}", flush=True)
    columns = [f"{name}, torch {runs[cases[0], name][0].torch}" for name in trainers]
    columns += [" / ".join(trainers)] * (len(trainers) > 1)
    print("\n|  | " + " | ".join(columns) + " |\n|" + " --- |" * (1 + len(columns)))
    for case in cases:
        taken = [[run.figures() for run in runs[case, name]] for name in trainers]
        for what in taken[0][0]:
            values = [[figures[what] for figures in each] for each in taken]
            if len(values) > 1:
                values.append([ours / theirs for ours, theirs in zip(*values, strict=True)])
            print(f"| {case}: {what} | " + " | ".join(spread(each, 2) for each in values) + " |")


def sweep(bench: Bench, case: Case, name: str, values: Sequence[str]) -> None:
    """Train with one thing changed, and draw how time and memory grow."""
    kind = type(getattr(case, name))
    figures = []
    for value in values:
        run = bench.ours(dataclasses.replace(case, **{name: kind(value)})).figures()
        figures.append(run)
        print(f"| {value} | " + " | ".join(f"{run[what]:.2f}" for what in run) + " |", flush=True)
    path = Path(__file__).parent / f"training-{name}.svg"
    draw(path, name, values, figures)
    print(path)


def draw(
    path: Path, name: str, values: Sequence[str], figures: Sequence[Mapping[str, float]]
) -> None:
    """Draw each of the figures against the values that `name` had."""
    x = [value_of(value) for value in values]
    figure = Figure(figsize=(3.2 * len(figures[0]), 2.8), layout="constrained")
    for axes, what in zip(figure.subplots(1, len(figures[0])), figures[0], strict=True):
        y = [run[what] for run in figures]
        axes.plot(x, y, "o-")
        axes.set_title(what, fontsize=10)
        axes.set_xlabel(name)
        axes.set_xticks(x, [value.replace(",", "x") for value in values], rotation=30)
        axes.set_ylim(0, 1.1 * max(y))
        axes.grid(alpha=0.2)
    figure.savefig(path, metadata={"Date": None})


def value_of(text: str) -> float:
    """Where a value stands on the axis: a resolution by its pixels."""
    width, _, height = text.partition(",")
    return float(width) * float(height or 1)


def main() -> None:
    """Read the command line, train and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="an SD1.x checkpoint")
    parser.add_argument("--kohya", type=Path, help="sd-scripts' folder; without it ours alone")
    parser.add_argument("--python", type=Path, help="the Python of its environment")
    parser.add_argument("--recipe", choices=BUILT_IN, help="compare this with the author's recipe")
    parser.add_argument("--resolution", nargs="+", default=[Case.resolution], metavar="W,H")
    parser.add_argument(
        "--precision", nargs="+", default=[Case.precision], choices=("no", "bf16", "fp16")
    )
    parser.add_argument(
        "--gradient-checkpointing",
        nargs="+",
        default=[Case.checkpointing],
        choices=("no", "yes"),
        help="both: with and without",
    )
    parser.add_argument("--steps", type=int, default=6, help="that are timed, after an epoch")
    parser.add_argument("--pictures", type=int, default=Case.pictures, help="five or more")
    parser.add_argument("--pairs", type=int, default=3, help="runs of each trainer and case")
    parser.add_argument("--threads", type=int, help="of each trainer; as PyTorch likes, if not set")
    parser.add_argument("--sweep", choices=SWEEPS, help="change this, in ours alone")
    parser.add_argument("--values", nargs="+", help="what the sweep tries")
    arguments = parser.parse_args()
    if arguments.kohya and not arguments.python:
        parser.error("--kohya needs --python")
    print(this_machine(), flush=True)
    with tempfile.TemporaryDirectory(prefix="rimo-benchmark-") as folder:
        bench = Bench(arguments, Path(folder))
        choices = (arguments.resolution, arguments.precision, arguments.gradient_checkpointing)
        cases = [Case(*each, pictures=arguments.pictures) for each in itertools.product(*choices)]
        if arguments.sweep:
            values = arguments.values or SWEEPS[arguments.sweep]
            sweep(bench, cases[0], arguments.sweep, values)
        else:
            compare(bench, cases, arguments.pairs)


if __name__ == "__main__":
    main()
