"""Claim 4: a vector of block weights brings the background back and keeps the character."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lib_rimo.demo.charts import bar_chart
from lib_rimo.demo.claims.commands import seeds_axis, xyz_command
from lib_rimo.demo.claims.strength import STRENGTHS, school
from lib_rimo.demo.measures import Check, Mean, difference, is_above, mean
from lib_rimo.demo.prompts import tag
from lib_rimo.demo.report import Chart, Item, Pictures, Section, Table
from lib_rimo.demo.studio import Seen, Shot, Studio
from lib_rimo.lora.blocks import LAYOUTS
from lib_rimo.weights.presets import AUTHORS_VECTOR

LAYOUT = LAYOUTS[17]
ALL_ONES = ",".join("1" for _ in LAYOUT)
KEPT = 0.9  # the share of identity that a good vector keeps
LEAST_GAIN = 0.02  # of detail, of which the base model's own backgrounds have about 0.5
LEVELS = (0.5, 0.2, 0.0)  # what the search turns blocks down to


def blocks(studio: Studio, lora: Path, seeds: range) -> Section:
    """The author's vector against the plain LoRA: background, identity, and the strip."""
    plain, weighted, checks = _compare(studio, lora, AUTHORS_VECTOR, seeds)
    without = studio.see([school(seed, None, "") for seed in seeds], "no LoRA")
    return Section(
        key="blocks",
        title="Block weights",
        claim=f"With {AUTHORS_VECTOR} two blocks are turned down and the background comes back.",
        checks=checks,
        items=[
            *_strips(studio, lora, seeds[0]),
            _vectors_table(
                [("no LoRA", without), ("plain LoRA", plain), (AUTHORS_VECTOR, weighted)],
                len(seeds),
            ),
        ],
    )


def block_by_block(studio: Studio, lora: Path, seeds: range) -> Section:
    """Every block turned down alone, and the vector that serves best here.

    The search sees the first half of the seeds, what is reported of its vector the second.
    """
    half = len(seeds) // 2
    search_seeds, test_seeds = seeds[:half], seeds[half:]
    plain = _see(studio, lora, ALL_ONES, seeds)
    effects = [_effect(studio, lora, block, plain, seeds) for block in LAYOUT]
    search_plain = plain[:half]
    best, candidates = find_vector(studio, lora, effects, search_plain, search_seeds)
    plain_again, chosen, checks = _compare(studio, lora, best, test_seeds)
    authors = _see(studio, lora, AUTHORS_VECTOR, test_seeds)
    without = studio.see([school(seed, None, "") for seed in test_seeds], "no LoRA")
    ranked = sorted(effects, key=lambda effect: effect.detail.value, reverse=True)
    carriers = [effect.block for effect in ranked if effect.detail.low > 0]
    top = {LAYOUT.index(block) for block in carriers}
    command = xyz_command(
        studio,
        lora,
        school(1, lora, tag(1, ALL_ONES)).prompt,
        f"Block: {', '.join(LAYOUT)}",
        seeds_axis(seeds),
    )
    caption = (
        f"Each block at 0, all others at 1: the change against the plain LoRA over {len(seeds)} "
        "seeds, with its 95 % range. "
    )
    caption += (
        f"Bold: blocks that hold the background back: {', '.join(carriers)}."
        if carriers
        else "No single block holds the background back beyond chance."
    )
    return Section(
        key="block-by-block",
        title="Which blocks carry the background",
        claim="Another model may keep its background elsewhere, so: each block alone, and the "
        "vector that serves best here.",
        checks=checks,
        items=[
            Chart(
                bar_chart(
                    LAYOUT,
                    [
                        ("identity", [effect.identity for effect in effects]),
                        ("background detail", [effect.detail for effect in effects]),
                    ],
                    y_label="change, block at 0",
                ),
                "What each block alone changes when it is turned down to 0.",
                command=command,
            ),
            Table(
                ["block at 0", "background detail", "identity"],
                [[e.block, e.detail.signed(), e.identity.signed()] for e in effects],
                caption,
                command=command,
                marked=frozenset(top),
            ),
            _vectors_table(
                [
                    ("no LoRA", without),
                    ("plain LoRA", plain_again),
                    (AUTHORS_VECTOR, authors),
                    (f"{best} (best here)", chosen),
                ],
                len(test_seeds),
                f" {len(candidates)} vectors were tried on {len(search_seeds)} other seeds: the "
                "blocks that give the most background for the identity they cost, one after the "
                f"other, at {', '.join(f'{level:g}' for level in LEVELS)}; the one with the most "
                f"background was taken among those that keep {KEPT:.0%} of the identity.",
            ),
            Pictures(
                [
                    [studio.picture_file(school(seed, None, "")) for seed in test_seeds[:8]],
                    *(
                        [studio.picture_file(_shot(lora, text, seed)) for seed in test_seeds[:8]]
                        for text in (ALL_ONES, AUTHORS_VECTOR, best)
                    ),
                ],
                "The first of those seeds.",
                row_labels=["no LoRA", "plain", "the author's", "best here"],
                column_labels=[str(seed) for seed in test_seeds[:8]],
                command=xyz_command(
                    studio,
                    lora,
                    school(1, lora, tag(1, ALL_ONES)).prompt,
                    f"Seed: {test_seeds[0]}-{test_seeds[:8][-1]}",
                    f"Block weights: {ALL_ONES}; {AUTHORS_VECTOR}; {best}",
                ),
            ),
        ],
    )


@dataclass(frozen=True)
class Effect:
    """What turning one block down to 0 changes."""

    block: str
    detail: Mean
    identity: Mean

    @property
    def worth(self) -> float:
        """Background gained for each bit of identity lost."""
        return self.detail.value / max(0.02, -self.identity.value)


def find_vector(
    studio: Studio, lora: Path, effects: Sequence[Effect], plain: Sequence[Seen], seeds: range
) -> tuple[str, list[str]]:
    """(the vector with the most background that keeps the character, all that were tried)."""
    useful = sorted(
        (effect for effect in effects if effect.detail.value > 0),
        key=lambda effect: effect.worth,
        reverse=True,
    )
    turned_down = [[effect.block for effect in useful[:count]] for count in range(1, 7)]
    candidates = list(
        dict.fromkeys(
            [AUTHORS_VECTOR, *(vector(names, at) for names in turned_down for at in LEVELS)]
        )
    )
    shots = [school(seed, lora, tag(1, text)) for text in candidates for seed in seeds]
    seen = studio.see(shots, "search for a vector")
    needed = KEPT * mean(one.identity for one in plain).value

    def rank(index: int) -> tuple[bool, float]:
        mine = seen[index * len(seeds) : (index + 1) * len(seeds)]
        identity = mean(one.identity for one in mine).value
        return identity >= needed, mean(one.detail for one in mine).value

    return candidates[max(range(len(candidates)), key=rank)], candidates


def vector(turned_down: Sequence[str], level: float) -> str:
    """17 weights, 1 but for the blocks that are turned down."""
    return ",".join(f"{level:g}" if block in turned_down else "1" for block in LAYOUT)


def _effect(studio: Studio, lora: Path, block: str, plain: Sequence[Seen], seeds: range) -> Effect:
    seen = _see(studio, lora, vector([block], 0), seeds, f"without {block}")
    return Effect(
        block,
        difference([one.detail for one in seen], [one.detail for one in plain]),
        difference([one.identity for one in seen], [one.identity for one in plain]),
    )


def _see(
    studio: Studio, lora: Path, text: str, seeds: range, description: str = "block weights"
) -> list[Seen]:
    return studio.see([_shot(lora, text, seed) for seed in seeds], description)


def _shot(lora: Path, text: str, seed: int) -> Shot:
    # All ones are the plain LoRA, whose pictures the strengths' curve has too.
    return school(seed, lora, tag(1, "" if text == ALL_ONES else text))


def _compare(
    studio: Studio, lora: Path, text: str, seeds: range
) -> tuple[list[Seen], list[Seen], list[Check]]:
    plain, weighted = _see(studio, lora, ALL_ONES, seeds), _see(studio, lora, text, seeds)
    lost = 1 - KEPT
    before = mean(one.identity for one in plain).value
    checks = [
        is_above(
            f"The background gains detail, {LEAST_GAIN} or more.",
            difference([one.detail for one in weighted], [one.detail for one in plain]),
            LEAST_GAIN,
            what="detail with the vector less without: ",
        ),
        is_above(
            f"The character stays: at most {lost:.0%} of her identity is lost.",
            difference([one.identity for one in weighted], [one.identity for one in plain]),
            -lost * before,
            what="identity with the vector less without: ",
        ),
    ]
    return plain, weighted, checks


def _strips(studio: Studio, lora: Path, seed: int) -> list[Item]:
    """The strengths' strip again, plain and with the vector."""
    rows = [
        [school(seed, lora, tag(value, text)) for value in STRENGTHS]
        for text in ("", AUTHORS_VECTOR)
    ]
    files = [studio.draw(row, "strip") for row in rows]
    command = xyz_command(
        studio,
        lora,
        school(seed, lora, tag()).prompt,
        f"LoRA strength: {STRENGTHS[0]}-{STRENGTHS[-1]} [{len(STRENGTHS)}]",
        f"Block weights: {ALL_ONES}; {AUTHORS_VECTOR}",
    )
    return [
        Pictures(
            files,
            f"Strength {STRENGTHS[0]} to {STRENGTHS[-1]:g}, plain and with the vector; "
            f"seed {seed}.",
            row_labels=["plain", "vector"],
            column_labels=[f"{value:g}" for value in STRENGTHS],
            command=command,
        )
    ]


def _vectors_table(rows: Sequence[tuple[str, list[Seen]]], count: int, note: str = "") -> Table:
    return Table(
        ["block weights", "background detail", "identity", "place right"],
        [
            [
                name,
                str(mean(one.detail for one in seen)),
                str(mean(one.identity for one in seen)),
                str(mean(float(one.place == "school") for one in seen)),
            ]
            for name, seen in rows
        ],
        f"Strength 1, means over {count} seeds with their 95 % range.{note}",
    )
