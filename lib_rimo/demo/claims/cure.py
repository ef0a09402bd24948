"""Claim 5: learned in many places, the character no longer drags plain backgrounds along."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

from lib_rimo.demo.claims.strength import school
from lib_rimo.demo.measures import Check, difference, is_above, mean
from lib_rimo.demo.prompts import NOWHERE_OUTFITS, POSES, TAG, scene
from lib_rimo.demo.report import Pictures, Section, Table
from lib_rimo.demo.studio import Seen, Shot, Studio, numbered_shots

COLUMNS = ("without a LoRA", "the author's recipe", "backgrounds kept")
KEPT = 0.05
"""By how much of the share of plain backgrounds a cure may be above the base model alone."""
LOST = 0.1
"""Of the identity that the author's recipe reaches, what the cure may cost."""


def _shots(lora: Path | None, count: int) -> list[Shot]:
    """`count` rounds of poses and clothes with no place named."""
    tag = TAG if lora else ""
    cells = list(product(POSES, NOWHERE_OUTFITS)) * count
    return numbered_shots((scene(pose, outfit=outfit, tag=tag) for pose, outfit in cells), lora)


def _first(lora: Path | None) -> list[Shot]:
    """The poses with neither place nor clothes named, and the author's own scene; seeds 1 to 4."""
    tag = TAG if lora else ""
    shots = numbered_shots((scene(pose, tag=tag) for pose in POSES), lora)
    return [*shots, school(len(shots) + 1, lora, tag)]


def cure(studio: Studio, recipe: Path, kept: Path, count: int) -> Section:
    """The same prompts and seeds without a LoRA, with the recipe's and with the cured one.

    `count` is the number of pictures of each prompt with each of them.
    """
    seen = [studio.see(_shots(lora, count), "backgrounds") for lora in (None, recipe, kept)]
    base, plain, cured = seen
    return Section(
        key="cure",
        title="Backgrounds kept",
        claim="Five pictures on plain grounds teach plain grounds. Cut out and put into places "
        "that the base model draws, with the base model's own prediction to be learned behind her, "
        "the character is learned without them.",
        checks=[
            is_above(
                "Backgrounds have more detail than with the author's recipe.",
                difference(_details(cured), _details(plain)),
                what="detail gained: ",
            ),
            is_above(
                f"Plain backgrounds are at most {KEPT} more frequent than without a LoRA.",
                difference(_plain(base), _plain(cured)),
                -KEPT,
                what="share without less share with: ",
            ),
            still_there(plain, cured),
        ],
        items=[
            Table(
                ["", "plain backgrounds", "background detail", "identity"],
                [_row(name, each) for name, each in zip(COLUMNS, seen, strict=True)],
                f"Means over {len(base)} pictures of the same prompts and seeds, in three poses "
                "and three clothes; no place is named.",
            ),
        ],
    )


def opening(studio: Studio, recipe: Path, kept: Path) -> Pictures:
    """Four prompts, before, with the recipe and with the cure side by side."""
    columns = [studio.draw(_first(lora), "before and after") for lora in (None, recipe, kept)]
    return Pictures(
        list(zip(*columns, strict=True)),
        "The same prompts and seeds, 1 to 4, not chosen.",
        row_labels=[*POSES, "outdoors, school"],
        column_labels=COLUMNS,
    )


def still_there(plain: Sequence[Seen], cured: Sequence[Seen]) -> Check:
    """Whether the cure costs little of the character."""
    return is_above(
        f"The character is there as before: identity at most {LOST} lower.",
        difference([one.identity for one in cured], [one.identity for one in plain]),
        -LOST,
        what="identity: ",
    )


def _details(seen: Sequence[Seen]) -> list[float]:
    return [one.detail for one in seen]


def _plain(seen: Sequence[Seen]) -> list[float]:
    return [float(one.plain) for one in seen]


def _row(name: str, seen: Sequence[Seen]) -> list[str]:
    columns = (_plain(seen), _details(seen), [one.identity for one in seen])
    return [name, *(str(mean(column)) for column in columns)]
