"""What LoRAs are compared by: prompts whose clothes and places the training never showed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import fmean

from lib_rimo.demo.claims.plain import hits
from lib_rimo.demo.measures import Mean, mean
from lib_rimo.demo.prompts import PLACE_WORDS, POSES, TAG, UNSEEN_OUTFITS, scene
from lib_rimo.demo.recipe import Recipe
from lib_rimo.demo.studio import Shot, Studio, numbered_shots


@dataclass(frozen=True)
class Standing:
    """How one recipe does: a value for each of its trainings, which differ in their seed."""

    accuracy: Sequence[float]  # share of outfits and places that are as asked
    identity: Sequence[float]

    @property
    def mean_accuracy(self) -> Mean:
        """Over the trainings."""
        return mean(self.accuracy)

    @property
    def mean_identity(self) -> Mean:
        """Over the trainings."""
        return mean(self.identity)


def shots(lora: Path | None, pictures: int) -> tuple[list[Shot], list[str], list[str]]:
    """(shots, their outfits, their places): every outfit in every place, poses in turn.

    `pictures` of each, every one of another seed.
    """
    cells = list(product(UNSEEN_OUTFITS, PLACE_WORDS, range(pictures)))
    tag = TAG if lora else ""
    prompts = (
        scene(POSES[number % 3], place, outfit, tag)
        for number, (outfit, place, _) in enumerate(cells, start=1)
    )
    return numbered_shots(prompts, lora), [cell[0] for cell in cells], [cell[1] for cell in cells]


def judge_lora(studio: Studio, lora: Path | None, pictures: int, name: str) -> tuple[float, float]:
    """(accuracy, identity) of one LoRA, None being the base model alone."""
    taken, outfits, places = shots(lora, pictures)
    seen = studio.see(taken, name)
    right = [*hits(seen, "outfit", outfits), *hits(seen, "place", places)]
    return fmean(right), fmean(one.identity for one in seen)


def judge_recipes(
    studio: Studio, recipes: dict[str, list[Recipe]], pictures: int
) -> dict[str, Standing]:
    """Train all recipes and judge their LoRAs, name by name."""
    files = iter(studio.train([one for group in recipes.values() for one in group]))
    standings = {}
    for name, group in recipes.items():
        judged = [judge_lora(studio, next(files), pictures, name) for _ in group]
        standings[name] = Standing([a for a, _ in judged], [i for _, i in judged])
    return standings
