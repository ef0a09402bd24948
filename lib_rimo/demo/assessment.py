"""What a LoRA of rimochan does to the base model, in one table that cures can be compared by.

`python -m lib_rimo.demo.assessment FILE [--trigger] [--pictures N]` prints it as JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path

from lib_rimo.demo.claims.plain import hits
from lib_rimo.demo.measures import Mean, mean
from lib_rimo.demo.prompts import (
    AUTHORS_PLACES,
    LORA,
    NOWHERE_OUTFITS,
    PLACE_WORDS,
    POSES,
    TAG,
    UNSEEN_OUTFITS,
    scene,
)
from lib_rimo.demo.studio import Seen, Studio, numbered_shots
from lib_rimo.sd.embedded import MODELS

FEATURES = ("hair", "twintails", "tips", "eyes", "ornament")
SCHOOL = ("standing", "school")  # the scene that the author looked at


@dataclass(frozen=True)
class Assessment:
    """Each value with the pictures it is a mean of; shares and grades are 0..1."""

    place: Mean  # as asked, of all places in all poses in the kimono
    plain_share: Mean  # plain backgrounds where the prompt names no place
    school_plain_share: Mean  # and where it says `outdoors, school`
    detail: Mean  # of the backgrounds where the prompt names no place
    school_detail: Mean
    outfit: Mean  # clothes she never wore, as asked
    pose: Mean
    identity: Mean  # in the plain sample: the author's places, in the kimono
    features: dict[str, Mean]  # what that is the mean of
    cloth_colour: Mean  # whether the kimono of that sample is yellow
    identity_in_unseen_clothes: Mean

    def as_json(self) -> str:
        """Means with half of their 95 % range and count, one a line."""

        def row(value: Mean | dict[str, Mean]) -> object:
            if isinstance(value, dict):
                return {name: row(each) for name, each in value.items()}
            return [round(value.value, 4), round(value.margin, 4), value.count]

        return json.dumps({f.name: row(getattr(self, f.name)) for f in fields(self)}, indent=1)


NOWHERE, AT_SCHOOL = 3, 6
"""How many times as many pictures are drawn of the few prompts that name no place, of the one."""


def assess(
    studio: Studio, lora: Path | None, pictures: int, *, trigger: bool = False, tag: str = TAG
) -> Assessment:
    """Draw and judge with a LoRA, or with the base model alone for None.

    `pictures` are drawn of each prompt that names a place, more of the others, each of another
    seed, the same with every LoRA. `trigger` puts her name into the prompts, which the author's do
    not have; `tag` may carry a strength and block weights.
    """
    tag = tag if lora else ""

    def see(cells: Sequence[tuple[str, str, str]], what: str) -> list[Seen]:
        prompts = (scene(*cell, tag, trigger=trigger) for cell in cells)
        return studio.see(numbered_shots(prompts, lora), what)

    everywhere = list(product(POSES, PLACE_WORDS, ("kimono",))) * pictures
    nowhere = list(product(POSES, ("",), NOWHERE_OUTFITS)) * pictures * NOWHERE
    school = [(*SCHOOL, "")] * pictures * AT_SCHOOL
    unseen = list(product(POSES, AUTHORS_PLACES, UNSEEN_OUTFITS)) * pictures
    in_places = see(everywhere, "places")
    without, at_school = see(nowhere, "no place named"), see(school, "outdoors, school")
    in_clothes = see(unseen, "unseen clothes")
    plain = [
        one
        for one, (_, place, *_) in zip(in_places, everywhere, strict=True)
        if place in AUTHORS_PLACES
    ]
    return Assessment(
        place=mean(hits(in_places, "place", [cell[1] for cell in everywhere])),
        plain_share=mean(one.plain for one in without),
        school_plain_share=mean(one.plain for one in at_school),
        detail=mean(one.detail for one in without),
        school_detail=mean(one.detail for one in at_school),
        outfit=mean(hits(in_clothes, "outfit", [cell[2] for cell in unseen])),
        pose=mean(
            hits([*in_places, *in_clothes], "pose", [cell[0] for cell in [*everywhere, *unseen]])
        ),
        identity=mean(one.identity for one in plain),
        features={name: mean(getattr(one, name) for one in plain) for name in FEATURES},
        cloth_colour=mean(hits(plain, "cloth_colour", ["yellow"] * len(plain))),
        identity_in_unseen_clothes=mean(one.identity for one in in_clothes),
    )


def across(assessments: Sequence[Assessment], name: str) -> Mean:
    """One value's mean over several trainings, whose spread is what its range is of."""
    return mean(getattr(each, name).value for each in assessments)


def main() -> None:
    """Read the command line and assess one LoRA."""
    from lib_rimo.demo.reproduce import open_studio

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lora", nargs="?", type=Path, help="without one: the base model alone")
    parser.add_argument("--pictures", type=int, default=2, help="of each prompt with a place")
    parser.add_argument("--family", choices=MODELS, default="sd1", help="of the base model")
    parser.add_argument("--trigger", action="store_true", help=f"say {LORA} in the prompts")
    parser.add_argument("--out", type=Path, default=Path("output/assessment"))
    options = parser.parse_args()
    studio = open_studio(options.out, family=options.family)
    print(assess(studio, options.lora, options.pictures, trigger=options.trigger).as_json())


if __name__ == "__main__":
    main()
