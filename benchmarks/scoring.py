"""How well the scorer's numbers go with the judge's, over many states of LoRAs.

    python -m benchmarks.scoring FOLDER LORA [LORA ...] --pictures FIVE

Each LoRA (with the steps saved beside it) is drawn at several strengths and with several vectors
of block weights, on the embedded base model and in its world; Spearman's rank correlation of fit
with the judge's identity and of keeping with the judge's accuracy are printed. Pictures and scores
lie in FOLDER: an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from statistics import mean

import numpy as np
from numpy.typing import NDArray

from lib_rimo.demo.judge import Judge, Verdict
from lib_rimo.demo.prompts import NEGATIVE, scene
from lib_rimo.inference.apply import LoraFolder
from lib_rimo.inference.generation import Generator
from lib_rimo.inference.infotext import Settings
from lib_rimo.scoring.choice import saved_files
from lib_rimo.scoring.drawing import GeneratorDrawer
from lib_rimo.scoring.encoder import PictureEncoder
from lib_rimo.scoring.references import fitted, read_references
from lib_rimo.scoring.scorer import Scorer
from lib_rimo.scoring.trials import State, Trials
from lib_rimo.sd import embedded
from lib_rimo.sd.checkpoint import load_checkpoint
from lib_rimo.weights.presets import AUTHORS_VECTOR

SCENES = (  # pose, place, outfit
    ("standing", "outdoors", "maid"),
    ("sitting", "classroom", "school uniform"),
    ("standing", "beach", "t-shirt"),
    ("kneeling", "indoors", ""),
    ("standing", "night", "witch"),
    ("sitting", "school", "kimono"),
)
SEEDS = (11, 12)
STRENGTHS = (0.25, 0.5, 0.75)  # of the middle and of the last saved step
STRONG = 1.25  # of the last one
VECTORS = 8  # drawn at random, of each LoRA


def states_of(lora: Path, rng: random.Random) -> list[State]:
    """Saved steps at 1, two at other strengths, the last with the author's and random vectors."""
    files = saved_files(lora.parent, lora.stem)
    vectors = [
        ",".join(rng.choice(("1", "1", "1", "0.5", "0.2", "0")) for _ in range(17))
        for _ in range(VECTORS)
    ]
    return [
        *(State(file) for file in files),
        *(State(file, s) for file in (files[len(files) // 2], lora) for s in STRENGTHS),
        State(lora, STRONG),
        *(State(lora, 1.0, vector) for vector in (AUTHORS_VECTOR, *vectors)),
    ]


def _accuracy(seen: Verdict, asked: tuple[str, str, str]) -> float:
    """The share of pose, place and, where one was asked for, outfit that are right."""
    shown = (seen.pose, seen.place, seen.outfit)
    return mean(there == wanted for there, wanted in zip(shown, asked, strict=True) if wanted)


def correlation(one: list[float], other: list[float]) -> float:
    """Spearman's rank correlation; equal values share their rank."""
    return float(np.corrcoef(_ranks(one), _ranks(other))[0, 1])


def _ranks(values: list[float]) -> NDArray[np.float64]:
    array = np.asarray(values)
    below = (array[None] < array[:, None]).sum(1)
    equal = (array[None] == array[:, None]).sum(1)
    ranks: NDArray[np.float64] = below + (equal - 1) / 2
    return ranks


def main() -> None:
    """Score, judge and correlate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("loras", type=Path, nargs="+", metavar="LORA")
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()

    width, height = embedded.RESOLUTION
    settings = Settings(negative_prompt=NEGATIVE, steps=arguments.steps, width=width, height=height)
    checkpoint = load_checkpoint(embedded.MODEL)
    references = [
        fitted(found, embedded.RESOLUTION) for found in read_references(arguments.pictures)
    ]
    scorer = Scorer(PictureEncoder(checkpoint), references)
    prompts = [scene(*parts, tag="") for parts in SCENES]
    judge, rng = Judge.load(), random.Random(0)
    fits, identities, keepings, accuracies = [], [], [], []
    for lora in arguments.loras:
        generator = Generator(checkpoint, LoraFolder(lora.parent))
        drawer = GeneratorDrawer(generator, settings)
        trials = Trials(arguments.folder, drawer, scorer, prompts, SEEDS)
        for state in states_of(lora, rng):
            score = trials.measure(state, len(SEEDS))
            verdicts = judge([trials.picture(state, p, seed) for p in prompts for seed in SEEDS])
            asked = [parts for parts in SCENES for _ in SEEDS]
            accuracies.append(mean(map(_accuracy, verdicts, asked)))
            identities.append(mean(seen.identity for seen in verdicts))
            fits.append(score.fit)
            keepings.append(score.keeping)
            print(
                f"{state.tag}  fit {score.fit:.3f} identity {identities[-1]:.3f}  "
                f"keeping {score.keeping:.3f} accuracy {accuracies[-1]:.3f}",
                flush=True,
            )
    print(
        f"{len(fits)} states: fit with identity {correlation(fits, identities):.2f}, "
        f"keeping with accuracy {correlation(keepings, accuracies):.2f}"
    )


if __name__ == "__main__":
    main()
