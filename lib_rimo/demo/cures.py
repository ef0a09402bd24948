"""Cures for the pull toward plain backgrounds, side by side, at equal steps and equal identity.

    python -m lib_rimo.demo.cures --case "plain five" --seeds 1 --steps 1000 --every 500

trains each cure, judges what it has learned every so many steps, and prints a table after each of
them; `cures.json` and the curves, `cures.svg`, lie in the folder of `--out`. All that was made is
kept: what was interrupted goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lib_rimo.demo.assessment import Assessment, assess
from lib_rimo.demo.measures import Mean, mean
from lib_rimo.demo.recipe import Recipe, train_command
from lib_rimo.demo.rimochan_pictures import PICTURES, SIZE, TRIGGER
from lib_rimo.demo.studio import Studio
from lib_rimo.demo.world import draw, draw_mask, full_caption
from lib_rimo.errors import UserError
from lib_rimo.training.config.built_in import BACKGROUNDS_KEPT, BASE_BEHIND, BUILT_IN
from lib_rimo.training.data.pictures import MASK_ENDING

MASKED_PRIOR = {**BASE_BEHIND, "mask_expand_pixels": 0}
MASKED_LOSS = {**MASKED_PRIOR, "masked_prior_preservation_weight": 0.0, "unmasked_weight": 0.1}
SCENES = {
    "prior_prediction_rate": 0.25,
    "prior_prediction_prompts": "scenes",
    "prior_prediction_min_timestep": 500,
}


@dataclass(frozen=True)
class Cure:
    """What is done otherwise than the recipe does: in the training, or when drawing."""

    changes: Mapping[str, Any] = field(default_factory=dict)
    vector: str = ""
    scenes: int = 0


RECIPE = "author's recipe"
CURES: dict[str, Cure] = {
    RECIPE: Cure(),
    BACKGROUNDS_KEPT: Cure(BUILT_IN[BACKGROUNDS_KEPT].options, scenes=20),
    "backgrounds kept, masks not widened": Cure(
        {**BUILT_IN[BACKGROUNDS_KEPT].options, "mask_expand_pixels": 0}, scenes=20
    ),
    "other backgrounds": Cure(scenes=20),
    "other backgrounds, masked loss": Cure(MASKED_LOSS, scenes=20),
    "other backgrounds, masked prior": Cure(MASKED_PRIOR, scenes=20),
    "masked loss": Cure(MASKED_LOSS),
    "masked prior": Cure(MASKED_PRIOR),
    "masked prior, masks widened": Cure(BASE_BEHIND),
    "prior by prediction": Cure(SCENES),
    "timesteps from 300": Cure({"min_timestep": 300}),
    "T-LoRA": Cure({"tlora_min_rank": 5}),
    "masked prior, prior by prediction": Cure({**MASKED_PRIOR, **SCENES}),
    # The two that searches have found in the one scene of docs/reproduction.md.
    "best vector": Cure(vector="0.2,1,0.2,1,1,1,1,1,1,1,1,0.2,0.2,1,1,1,1"),
    "OUT07 off": Cure(vector="1,1,1,1,1,1,1,1,1,1,1,1,0,1,1,1,1"),
}


@dataclass(frozen=True)
class Case:
    """Pictures and recipe of which the cures are changes."""

    changes: Mapping[str, Any] = field(default_factory=dict)
    augmented: bool = True
    places: Sequence[str] = ()
    """Where the five pictures stand, if not on plain grounds."""


CASES = {
    "recipe": Case(),
    # With alpha 10 and without crops every background comes out plain: the pain itself.
    "plain five": Case({"network_alpha": 10.0}, augmented=False),
    # What must not get worse.
    "detailed five": Case(places=("outdoors", "indoors", "beach", "classroom", "night")),
}


@dataclass(frozen=True)
class State:
    """One cure after some steps."""

    cure: str
    seed: int
    steps: int
    seen: Assessment

    def as_json(self) -> dict[str, Any]:
        """For `cures.json`."""
        named = {"cure": self.cure, "seed": self.seed, "steps": self.steps}
        values: dict[str, Any] = json.loads(self.seen.as_json())
        return named | values


def write_detailed(folder: Path, places: Sequence[str]) -> None:
    """Write the five pictures as they are in places full of things, with captions and masks.

    The masks are drawn, as somebody would make them by `mask` or by hand: no edge tells them here.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number, (attributes, place) in enumerate(zip(PICTURES, places, strict=True), start=1):
        there = dataclasses.replace(attributes, place=place)
        draw(there, SIZE, np.random.default_rng(number)).image.save(folder / f"{number}.png")
        mask = draw_mask(there, SIZE, np.random.default_rng(number))
        mask.save(folder / f"{number}{MASK_ENDING}.png")
        caption = f"{TRIGGER}, {full_caption(there)}\n"
        (folder / f"{number}.txt").write_text(caption, encoding="utf-8")


def states(
    studio: Studio, case: Case, cure: str, training_seed: int, steps: int, every: int, pictures: int
) -> Iterator[State]:
    """Train one cure, and judge it every so many steps."""
    chosen = CURES[cure]
    changes = {**case.changes, **chosen.changes, "max_train_steps": steps}
    if every:
        changes["save_every_n_steps"] = every
    recipe = Recipe(
        f"{cure if chosen.changes or chosen.scenes else RECIPE}-seed-{training_seed}",
        changes,
        seed=training_seed,
        augmented=case.augmented,
        scenes=chosen.scenes,
    )
    print(train_command(studio.options(recipe)), flush=True)
    (last,) = studio.train([recipe])
    files = {steps: last}
    files |= {int(file.stem.rpartition("step")[2]): file for file in last.parent.glob("*-step*")}
    vector = f":{chosen.vector}" if chosen.vector else ""
    for count, file in sorted(files.items()):
        seen = assess(studio, file, pictures, tag=f"<lora:{file.stem}:1{vector}>")
        yield State(cure, training_seed, count, seen)


def at_identity(found: Sequence[State], wanted: float, name: str) -> float | None:
    """A value where a cure's identity first reaches this, between its states; None: never."""
    before: tuple[float, float] | None = None
    for state in sorted(found, key=lambda state: state.steps):
        value: Mean = getattr(state.seen, name)
        here = (state.seen.identity.value, value.value)
        if here[0] >= wanted:
            if before is None or here[0] == before[0]:
                return here[1]
            part = (wanted - before[0]) / (here[0] - before[0])
            return before[1] + part * (here[1] - before[1])
        before = here
    return None


SHOWN = (
    *("identity", "identity_in_unseen_clothes", "plain_share", "detail"),
    *("place", "outfit", "pose"),
)


def table(found: Sequence[State], base: Assessment) -> str:
    """Each cure at its last step, and details at the identity that the recipe has reached."""
    last = max(state.steps for state in found)
    rows = [["", *SHOWN, "detail at equal identity"]]
    rows.append(["no LoRA", *(_cell([getattr(base, name)]) for name in SHOWN), ""])
    reached = [s.seen.identity.value for s in found if s.cure == RECIPE and s.steps == last]
    for cure in dict.fromkeys(state.cure for state in found):
        mine = [state for state in found if state.cure == cure]
        ends = [state.seen for state in mine if state.steps == last]
        if not ends:
            continue
        equal = [
            at_identity([s for s in mine if s.seed == seed], mean(reached).value, "detail")
            for seed in sorted({state.seed for state in mine})
            if reached
        ]
        values = [value for value in equal if value is not None]
        cells = [_cell([getattr(end, name) for end in ends]) for name in SHOWN]
        rows.append([cure, *cells, str(mean(values)) if values else "not reached"])
    return "\n".join(
        f"| {' | '.join(row)} |" for row in [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    )


def _cell(values: Sequence[Mean]) -> str:
    """Over several trainings their spread counts, else that of one training's pictures."""
    return str(values[0] if len(values) == 1 else mean(value.value for value in values))


def curves(found: Sequence[State], base: Assessment) -> str:
    """Detail of backgrounds over identity, a curve for each cure from its first steps on: SVG."""
    from lib_rimo.demo.charts import curve_chart

    lines: dict[str, list[tuple[float, float]]] = {}
    for cure in dict.fromkeys(state.cure for state in found):
        mine = [state for state in found if state.cure == cure]
        lines[cure] = []
        for steps in sorted({state.steps for state in mine}):
            seen = [state.seen for state in mine if state.steps == steps]
            identity = mean(one.identity.value for one in seen).value
            lines[cure].append((identity, mean(one.detail.value for one in seen).value))
    return curve_chart(
        lines,
        x_label="identity in the plain sample",
        y_label="detail of backgrounds, no place named",
        level=("no LoRA", base.detail.value),
    )


def main() -> None:
    """Read the command line; train and judge."""
    from lib_rimo.demo.reproduce import open_studio

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=tuple(CASES), default="plain five")
    parser.add_argument("--cures", nargs="*", choices=tuple(CURES), default=list(CURES))
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each cure")
    parser.add_argument("--pictures", type=int, default=1, help="of each prompt with a place")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--every", type=int, default=0, help="judge every so many steps too")
    parser.add_argument("--out", type=Path, default=Path("output/cures"))
    options = parser.parse_args()
    case = CASES[options.case]
    out = options.out / options.case.replace(" ", "-")
    studio = open_studio(out, processes=1)
    if case.places:
        write_detailed(out / "five", case.places)
        studio.five = out / "five"
    base = assess(studio, None, options.pictures)
    found: list[State] = []
    for training_seed in range(1, options.seeds + 1):
        for cure in options.cures:
            found += states(
                studio, case, cure, training_seed, options.steps, options.every, options.pictures
            )
            content = [state.as_json() for state in found]
            (out / "cures.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
            (out / "cures.svg").write_text(curves(found, base), encoding="utf-8")
            print(table(found, base), flush=True)
    studio.close()


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(str(error)) from error
