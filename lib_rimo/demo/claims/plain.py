"""Claim 1: the LoRA draws the character in the poses and places that a prompt asks for."""

from __future__ import annotations

from itertools import product
from pathlib import Path

from lib_rimo.demo.claims.commands import seeds_axis, xyz_command
from lib_rimo.demo.measures import Check, difference, is_above, mean
from lib_rimo.demo.prompts import AUTHORS_PLACES, POSES, scene
from lib_rimo.demo.report import Pictures, Section, Table
from lib_rimo.demo.studio import Seen, Shot, Studio

KEPT = 0.1  # of the base model's accuracy a LoRA may cost
KNOWN = 0.5  # the identity from which the character is called drawn


def plain(studio: Studio, lora: Path, seeds: range) -> Section:
    """Pose x place in the kimono, with the LoRA and without."""
    cells = list(product(AUTHORS_PLACES, POSES, seeds))

    def see(tag_kept: bool) -> list[Seen]:
        prompts = [scene(pose, place, "kimono") for place, pose, _ in cells]
        if not tag_kept:
            prompts = [scene(pose, place, "kimono", tag="") for place, pose, _ in cells]
        shots = [
            Shot(prompt, seed, lora if tag_kept else None)
            for prompt, (_, _, seed) in zip(prompts, cells, strict=True)
        ]
        return studio.see(shots, "plain sample")

    on, off = see(True), see(False)
    poses, places = [pose for _, pose, _ in cells], [place for place, _, _ in cells]

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
            poses_in_places(studio, lora, "kimono", seeds, "Not chosen"),
            Table(
                ["", "pose right", "place right", "kimono", "identity", "background detail"],
                [row("with the LoRA", on), row("without", off)],
                f"Shares and means over {len(cells)} pictures ({len(seeds)} seeds a cell), "
                "with their 95 % range.",
            ),
        ],
    )


def poses_in_places(studio: Studio, lora: Path, outfit: str, seeds: range, what: str) -> Pictures:
    """The first seed's pictures of an outfit, a row for each place and a column for each pose."""
    return Pictures(
        [
            [
                studio.picture_file(Shot(scene(pose, place, outfit), seeds[0], lora))
                for pose in POSES
            ]
            for place in AUTHORS_PLACES
        ],
        f"{what}: all of seed {seeds[0]}.",
        row_labels=AUTHORS_PLACES,
        column_labels=POSES,
        command=xyz_command(
            studio,
            lora,
            scene(POSES[0], AUTHORS_PLACES[0], outfit),
            f"Prompt S/R: {', '.join(POSES)}",
            f"Prompt S/R: {', '.join(AUTHORS_PLACES)}",
            seeds_axis(seeds),
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
