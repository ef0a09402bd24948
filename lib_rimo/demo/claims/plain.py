"""Claim 1: the LoRA draws the character in the poses and places that a prompt asks for."""

from __future__ import annotations

from itertools import product
from pathlib import Path

from lib_rimo.demo.claims.commands import xyz_command
from lib_rimo.demo.measures import Check, difference, is_above, mean
from lib_rimo.demo.prompts import AUTHORS_PLACES, POSES, TAG, scene
from lib_rimo.demo.report import Pictures, Section, Table
from lib_rimo.demo.studio import Seen, Shot, Studio, numbered_shots

KEPT = 0.1  # of the base model's accuracy a LoRA may cost
KNOWN = 0.5  # the identity from which the character is called drawn


def plain(studio: Studio, lora: Path, pictures: int) -> Section:
    """Pose x place in the kimono, with the LoRA and without, `pictures` of each."""
    cells = list(product(AUTHORS_PLACES, POSES)) * pictures

    def see(tag: str) -> list[Seen]:
        prompts = (scene(pose, place, "kimono", tag) for place, pose in cells)
        return studio.see(numbered_shots(prompts, lora if tag else None), "plain sample")

    on, off = see(TAG), see("")
    poses, places = [pose for _, pose in cells], [place for place, _ in cells]

    def row(name: str, seen: list[Seen]) -> list[str]:
        columns = [
            hits(seen, "pose", poses),
            hits(seen, "place", places),
            hits(seen, "outfit", ["kimono"] * len(seen)),
            [one.identity for one in seen],
            [one.detail for one in seen],
        ]
        return [name, *(str(mean(column)) for column in columns)]

    return Section(
        key="plain",
        title="Plain sample",
        claim="A LoRA from five pictures draws its character in any asked pose and place.",
        checks=[
            is_above(
                f"The character is there: identity above {KNOWN}.",
                mean(one.identity - KNOWN for one in on),
                what="identity above that: ",
            ),
            still_follows("pose", hits(on, "pose", poses), hits(off, "pose", poses)),
            still_follows("place", hits(on, "place", places), hits(off, "place", places)),
        ],
        items=[
            poses_in_places(studio, lora, "kimono", "Not chosen"),
            Table(
                ["", "pose right", "place right", "kimono", "identity", "background detail"],
                [row("with the LoRA", on), row("without", off)],
                f"Shares and means over {len(cells)} pictures ({pictures} of each pose in each "
                "place, each of another seed), with their 95 % range.",
            ),
        ],
    )


def poses_in_places(studio: Studio, lora: Path, outfit: str, what: str) -> Pictures:
    """Pictures of an outfit, all of seed 1: a row for each place and a column for each pose."""
    shots = [
        [Shot(scene(pose, place, outfit), 1, lora) for pose in POSES] for place in AUTHORS_PLACES
    ]
    studio.draw([shot for row in shots for shot in row], outfit)
    return Pictures(
        [[studio.picture_file(shot) for shot in row] for row in shots],
        f"{what}: all of seed 1.",
        row_labels=AUTHORS_PLACES,
        column_labels=POSES,
        command=xyz_command(
            studio,
            lora,
            scene(POSES[0], AUTHORS_PLACES[0], outfit),
            f"Prompt S/R: {', '.join(POSES)}",
            f"Prompt S/R: {', '.join(AUTHORS_PLACES)}",
            "Seed: 1",
        ),
    )


def hits(seen: list[Seen], attribute: str, wanted: list[str]) -> list[float]:
    """1 for each picture that shows what was asked for, else 0."""
    return [float(getattr(one, attribute) == word) for one, word in zip(seen, wanted, strict=True)]


def still_follows(what: str, on: list[float], off: list[float]) -> Check:
    """Whether a LoRA leaves what prompts ask for as it is with the base model alone."""
    return is_above(
        f"The {what} still follows the prompt: right at most {KEPT} less often than without LoRA.",
        difference(on, off),
        -KEPT,
        what="share with the LoRA less share without: ",
    )
