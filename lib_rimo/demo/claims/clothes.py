"""Claim 2: the LoRA leaves clothes changeable that its pictures never showed."""

from __future__ import annotations

from itertools import product
from pathlib import Path

from lib_rimo.demo.claims.commands import xyz_command
from lib_rimo.demo.claims.plain import KNOWN, hits, poses_in_places, still_follows
from lib_rimo.demo.measures import is_above, mean
from lib_rimo.demo.prompts import AUTHORS_PLACES, OUTFIT_WORDS, POSES, TAG, UNSEEN_OUTFITS, scene
from lib_rimo.demo.report import Pictures, Section, Table
from lib_rimo.demo.studio import Seen, Shot, Studio, numbered_shots


def clothes(
    studio: Studio, lora: Path, pictures: int, judged: tuple[str, ...] = UNSEEN_OUTFITS
) -> Section:
    """Outfits in the poses and places of the plain sample, with the LoRA and without.

    All unseen outfits are shown once; `judged` are those that the numbers are about, `pictures` of
    each in each pose and place.
    """
    cells = list(product(judged, AUTHORS_PLACES, POSES)) * pictures

    def see(tag: str, what: str) -> list[Seen]:
        prompts = (scene(pose, place, outfit, tag) for outfit, place, pose in cells)
        return studio.see(numbered_shots(prompts, lora if tag else None), what)

    on, off = see(TAG, "change of clothes"), see("", "change of clothes, no LoRA")
    outfits = [cell[0] for cell in cells]
    right_on, right_off = hits(on, "outfit", outfits), hits(off, "outfit", outfits)

    def row(name: str) -> list[str]:
        mine = [index for index, outfit in enumerate(outfits) if name in ("all", outfit)]
        columns = (
            [right_on[index] for index in mine],
            [right_off[index] for index in mine],
            [on[index].identity for index in mine],
            [off[index].identity for index in mine],
        )
        return [name, *(str(mean(column)) for column in columns)]

    shown = [
        [Shot(scene("standing", "outdoors", outfit), 1, lora) for outfit in UNSEEN_OUTFITS],
        [Shot(scene("standing", "outdoors", outfit, tag=""), 1) for outfit in UNSEEN_OUTFITS],
    ]
    studio.draw([shot for row in shown for shot in row], "other clothes")
    words = [OUTFIT_WORDS[outfit] for outfit in UNSEEN_OUTFITS]
    return Section(
        key="clothes",
        title="Change of clothes",
        claim="Put into a maid's dress, the character stays herself: the LoRA generalises.",
        checks=[
            still_follows("outfit", right_on, right_off),
            is_above(
                f"The character is there in clothes she never wore: identity above {KNOWN}.",
                mean(one.identity - KNOWN for one in on),
                what="identity above that: ",
            ),
        ],
        items=[
            poses_in_places(studio, lora, "maid", "The maid, not chosen"),
            Pictures(
                [[studio.picture_file(shot) for shot in row] for row in shown],
                "Every outfit standing outdoors, with the LoRA and without; seed 1.",
                row_labels=["with the LoRA", "without"],
                column_labels=UNSEEN_OUTFITS,
                command=xyz_command(
                    studio,
                    lora,
                    scene("standing", "outdoors", "maid"),
                    "Prompt S/R: " + ", ".join(f'"{text}"' for text in words),
                    "LoRA strength: 1, 0",
                ),
            ),
            Table(
                ["outfit", "right, LoRA", "right, no LoRA", "identity, LoRA", "identity, no LoRA"],
                [row(name) for name in (*judged, *(["all"] if len(judged) > 1 else []))],
                f"Shares and means over {len(cells) // len(judged)} pictures an outfit, each of "
                "another seed, with their 95 % range.",
            ),
        ],
    )
