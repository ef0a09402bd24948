"""Claim 3: with strength the character comes, and the background's detail goes."""

from __future__ import annotations

from pathlib import Path

from lib_rimo.demo.charts import line_chart
from lib_rimo.demo.claims.commands import seeds_axis, xyz_command
from lib_rimo.demo.measures import difference, is_above, mean
from lib_rimo.demo.prompts import scene, tag
from lib_rimo.demo.report import Chart, Pictures, Section
from lib_rimo.demo.studio import Shot, Studio

STRENGTHS = tuple(round(0.1 * step, 1) for step in range(1, 11))


def school(seed: int, lora: Path | None, tag_text: str) -> Shot:
    """The scene that strengths and block weights are tried on."""
    return Shot(scene("standing", "school", tag=tag_text), seed, lora)


def strength(studio: Studio, lora: Path, seeds: range) -> Section:
    """The same scene at ten strengths: identity, background detail, and the strip of pictures."""
    shots = [school(seed, lora, tag(value)) for value in STRENGTHS for seed in seeds]
    seen = studio.see(shots, "strength")
    rows = [seen[start : start + len(seeds)] for start in range(0, len(seen), len(seeds))]
    identity = [[one.identity for one in row] for row in rows]
    detail = [[one.detail for one in row] for row in rows]
    first, last = STRENGTHS[0], STRENGTHS[-1]
    strip = [studio.picture_file(school(seeds[0], lora, tag(value))) for value in STRENGTHS]
    command = xyz_command(
        studio,
        lora,
        school(1, lora, tag()).prompt,
        f"LoRA strength: {first}-{last} [{len(STRENGTHS)}]",
        seeds_axis(seeds),
    )
    return Section(
        key="strength",
        title="Strength",
        claim="As the LoRA's strength grows the character appears, and backgrounds become simple, "
        "because those of the training pictures are.",
        checks=[
            is_above(
                f"Identity rises from strength {first} to {last:g}.",
                difference(identity[-1], identity[0]),
                what="identity: ",
            ),
            is_above(
                f"Background detail falls from strength {first} to {last:g}.",
                difference(detail[0], detail[-1]),
                what="detail lost: ",
            ),
        ],
        items=[
            Pictures(
                [strip],
                f"Strength {first} to {last:g}; seed {seeds[0]}.",
                column_labels=[f"{value:g}" for value in STRENGTHS],
                command=command,
            ),
            Chart(
                line_chart(
                    STRENGTHS,
                    [
                        ("identity", [mean(values) for values in identity]),
                        ("background detail", [mean(values) for values in detail]),
                    ],
                    x_label="strength",
                ),
                f"Means over {len(seeds)} seeds with their 95 % range.",
                command=command,
            ),
        ],
    )
