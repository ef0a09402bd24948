"""Measures the base model with the judge: `python -m lib_rimo.base_model.evaluation`.

Random captions, DPM++ 2M Karras, nothing picked by hand: how often does a picture show what its
caption asks for? And how much of rimochan comes where words say all of her? What the model cannot
draw when asked, small things above all, a LoRA of attention alone hardly has it draw. Also draws
the sheet of the first 48 pictures.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from lib_rimo.base_model.judge_training import measure_judge
from lib_rimo.base_model.parallel import Worker
from lib_rimo.base_model.sampling import as_sheet, draw_captions
from lib_rimo.demo.judge import CLASSES, Judge
from lib_rimo.demo.world import (
    PLACES,
    POSES,
    RIMOCHAN,
    Attributes,
    Likeness,
    full_caption,
    sample_attributes,
)
from lib_rimo.sd.checkpoint import Checkpoint, load_checkpoint
from lib_rimo.sd.embedded import MODELS
from lib_rimo.sd.family import Family

ASKED = ("outfit", "pose", "place", "hair_colour", "hair_style")
BATCH = 8
SHEET_PICTURES = 48
DOCS = Path(__file__).parents[2] / "docs"
SHEETS: dict[Family, Path] = {"sd1": DOCS / "base-model.png", "sdxl": DOCS / "base-model-sdxl.png"}
FIGURES: dict[Family, str] = {"sd1": "measured.json", "sdxl": "measured-sdxl.json"}
SEED = 51


def random_prompts(count: int, seed: int = SEED) -> list[tuple[Attributes, str]]:
    """Full-body pictures with full captions, as people ask for all that they want."""
    rng = np.random.default_rng(seed)
    prompts = []
    for _ in range(count):
        truth = dataclasses.replace(sample_attributes(rng, flaws=0), framing="full body")
        prompts.append((truth, full_caption(truth)))
    return prompts


def described_prompts() -> list[tuple[Attributes, str]]:
    """Rimochan in words: each place in turn, each with another pose."""
    described = dataclasses.replace(
        RIMOCHAN,
        hair_colour="silver",
        tips="purple",
        eye_colour="yellow",
        headphones="aqua",
        likeness=Likeness(),
    )
    prompts = []
    for number, place in enumerate(PLACES):
        truth = dataclasses.replace(described, place=place, pose=POSES[number % len(POSES)])
        prompts.append((truth, full_caption(truth)))
    return prompts


def draw_prompts(
    checkpoint: Checkpoint, captions: Sequence[str], seeds: Sequence[int], **settings: Any
) -> NDArray[np.uint8]:
    """Pictures of all captions, (N, H, W, 3)."""
    pictures = []
    for start in tqdm(range(0, len(captions), BATCH), "drawing", mininterval=10):
        part = slice(start, start + BATCH)
        pictures.append(draw_captions(checkpoint, captions[part], seeds[part], **settings))
    return np.concatenate(pictures)


def accuracy(
    judge: Judge, pictures: NDArray[np.uint8], truths: Sequence[Attributes]
) -> dict[str, float]:
    """Share of pictures in which the judge finds what was asked for, by attribute."""
    agreed = [v.agrees(truth) for v, truth in zip(judge(pictures), truths, strict=True)]
    return {name: float(np.mean([each[name] for each in agreed])) for name in ASKED}


def likeness(judge: Judge, pictures: NDArray[np.uint8]) -> dict[str, float]:
    """How much of each of rimochan's features the judge finds, 0..1, and of all: her identity."""
    verdicts = judge(pictures)
    names = [field.name for field in dataclasses.fields(Likeness)]
    found = {name: [getattr(each.likeness, name) for each in verdicts] for name in names}
    found["twintails"] = [each.twintails for each in verdicts]
    found["identity"] = [each.identity for each in verdicts]
    return {name: float(np.mean(values)) for name, values in found.items()}


def chance() -> dict[str, float]:
    """What guessing would reach."""
    return {name: 1 / len(CLASSES[name]) for name in ASKED}


def measure(
    worker: Worker,
    work: Path,
    count: int,
    *,
    family: Family = "sd1",
    steps: int = 20,
    cfg_scale: float = 5.0,
) -> None:
    """Draw `count` random captions with the family's model and write what the judge finds.

    The figures go beside the model, the sheet into the docs; the processes share the
    drawing.
    """
    work.mkdir(parents=True, exist_ok=True)
    prompts = random_prompts(count) + described_prompts()
    mine = range(worker.rank, len(prompts), worker.count)
    checkpoint = load_checkpoint(MODELS[family])
    pictures = draw_prompts(
        checkpoint, [prompts[i][1] for i in mine], list(mine), steps=steps, cfg_scale=cfg_scale
    )
    np.save(work / f"measured-{worker.rank}.npy", pictures)
    worker.wait()
    if not worker.leads:
        return
    whole = np.empty((len(prompts), *pictures.shape[1:]), dtype=np.uint8)
    for rank in range(worker.count):
        whole[rank :: worker.count] = np.load(work / f"measured-{rank}.npy")
    judge = Judge.load()
    figures = {
        "captions": count,
        "sampler": "DPM++ 2M Karras",
        "steps": steps,
        "cfg_scale": cfg_scale,
        "accuracy": accuracy(judge, whole[:count], [truth for truth, _ in prompts[:count]]),
        "chance": chance(),
        "rimochan_described": likeness(judge, whole[count:]),
        "judge_on_drawings": measure_judge(judge),
    }
    text = json.dumps(figures, indent=2)
    print(text)
    (MODELS[family].parent / FIGURES[family]).write_text(text + "\n", encoding="utf-8")
    DOCS.mkdir(exist_ok=True)
    shown = whole[: min(count, SHEET_PICTURES)]
    Image.fromarray(as_sheet(shown, 12)).save(SHEETS[family], optimize=True)


def main() -> None:
    """Read the command line and measure the model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", choices=MODELS, default="sd1")
    parser.add_argument("--count", type=int, default=400, help="captions")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--cfg-scale", type=float, default=5.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(
            Worker(),
            Path(folder),
            options.count,
            family=options.family,
            steps=options.steps,
            cfg_scale=options.cfg_scale,
        )


if __name__ == "__main__":
    main()
