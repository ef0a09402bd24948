"""How the scorer's numbers go with the judge's, over many states of LoRAs, and what it chooses.

    python -m benchmarks.scoring [FOLDER] [--loras FILE ...] [--record]

Three LoRAs are trained on the embedded base model and drawn at several saved steps, strengths and
vectors of block weights. Told are Spearman's rank correlation of fit with the judge's identity and
of keeping with the judge's accuracy, and how much of what the judge's own choice gains over the
last step at strength 1 the scorer's choice gains: both choose by one seed's pictures, and what they
have gained is judged on another's; last, both choose by the pictures of both, as a search looks at
several seeds, and what they have gained is judged on the same. `--loras` takes LoRAs that were
trained before, named by their folders, with the steps that are saved beside them. LoRAs, pictures
and scores lie in FOLDER: the same command goes on where it was interrupted. `--record` keeps a few
of the pictures beside the tests, where the same is asked in small.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lib_rimo.demo.judge import Verdict
from lib_rimo.demo.prompts import POSES, scene
from lib_rimo.demo.recipe import Recipe
from lib_rimo.demo.reproduce import FIVE, open_studio
from lib_rimo.demo.studio import Seen, Shot, Studio, digest
from lib_rimo.environment import ROOT
from lib_rimo.files import file_hash, written_beside
from lib_rimo.scoring.choice import gains_enough, saved_files, usual_of
from lib_rimo.scoring.encoder import PictureEncoder
from lib_rimo.scoring.references import fitted, read_references
from lib_rimo.scoring.scorer import Score, Scorer, harmonic_mean
from lib_rimo.scoring.trials import State, Trials, own_seed
from lib_rimo.sd import embedded
from lib_rimo.sd.checkpoint import load_checkpoint
from lib_rimo.training.data.image_files import open_image
from lib_rimo.weights.presets import AUTHORS_VECTOR
from lib_rimo.weights.tags import parse_prompt

Asked = tuple[str, str, str]  # pose, place, outfit
CLOTHES = {  # that she never wore, each in three places
    "maid": ("outdoors", "classroom", "night"),
    "school uniform": ("classroom", "school", "beach"),
    "t-shirt": ("beach", "indoors", "outdoors"),
    "witch": ("night", "school", "indoors"),
}
SCENES: tuple[Asked, ...] = tuple(
    (POSES[number], place, outfit)
    for outfit, places in CLOTHES.items()
    for number, place in enumerate(places)
)
# Of the first scene; one state's pictures of one scene are alike: more scenes tell more.
SEED, OTHER_SEED = 11, 12
STRENGTHS = (0.25, 0.5, 0.75)  # of the middle and of the last saved step
STRONG = (1.25, 1.5, 2.0)  # of the last one
VECTORS = 8  # drawn at random, of each LoRA
RECORD = ROOT / "tests" / "scoring" / "states.jpg"
RECORDED = SCENES[::3]  # one of each clothes


@dataclass(frozen=True)
class Row:
    """A state of a LoRA: what the scorer says of its pictures, and what the judge."""

    lora: str
    state: State
    score: Score
    identity: float
    accuracy: float
    """Poses, places and clothes as asked, and the background's detail beside the base model's."""
    hits: float
    """The share of poses, places and clothes that are as asked."""

    @property
    def judged(self) -> float:
        """One number of the judge's two: their harmonic mean."""
        return harmonic_mean(self.identity, self.accuracy)


def recipes_of(steps: int) -> list[Recipe]:
    """The recipe, a stronger one, and that of the five pictures alone, each saved four times."""
    saved = {"max_train_steps": steps, "save_every_n_steps": steps // 4}
    strong = saved | {"network_alpha": 10.0}
    return [
        Recipe("recipe", saved),
        Recipe("strong", strong, seed=2),
        Recipe("five", strong, seed=3, augmented=False),
    ]


def candidates_of(lora: Path) -> list[State]:
    """What somebody chooses from: saved steps, strengths of two, the author's vector."""
    files = saved_files(lora.parent, lora.stem)
    states = [
        *(State(file) for file in files),
        *(State(file, s) for file in (files[len(files) // 2], lora) for s in STRENGTHS),
        *(State(lora, strength) for strength in STRONG),
        State(lora, 1.0, AUTHORS_VECTOR),
    ]
    return list(dict.fromkeys(states))  # the middle one of a single file is the last


def with_random_vectors(lora: Path, rng: random.Random) -> list[State]:
    """The last step with block weights drawn at random."""
    words = ("1", "1", "1", "0.5", "0.2", "0")
    vectors = [",".join(rng.choice(words) for _ in range(17)) for _ in range(VECTORS)]
    return [State(lora, 1.0, vector) for vector in vectors]


def prompts_of(scenes: Sequence[Asked]) -> list[str]:
    """What asks for them, without a LoRA."""
    return [scene(*asked, tag="") for asked in scenes]


def shots_of(state: State | None, seed: int = SEED, scenes: Sequence[Asked] = SCENES) -> list[Shot]:
    """Every scene, worded as `Trials` does; None for the base model alone."""
    tag, lora = ("", None) if state is None else (f" {state.tag}", state.file)
    every = prompts_of(SCENES)
    return [
        Shot(prompt + tag, own_seed(seed, prompt, every), lora) for prompt in prompts_of(scenes)
    ]


class StudioDrawer:
    """Hands out a studio's pictures of one folder's LoRAs."""

    def __init__(self, studio: Studio, folder: Path) -> None:
        self._studio, self._folder = studio, folder

    def draw(self, prompt: str, seeds: Sequence[int]) -> list[Image.Image]:
        """A picture for each seed."""
        tags = parse_prompt(prompt)[1]
        lora = self._folder / f"{tags[0].name}.safetensors" if tags else None
        files = self._studio.draw([Shot(prompt, seed, lora) for seed in seeds])
        return [open_image(file).convert("RGB") for file in files]

    def identity(self) -> str:
        """The model's hash and how it draws."""
        return digest(file_hash(self._studio.model), dataclasses.asdict(self._studio.look))


def rows_of(studio: Studio, states: Mapping[str, Sequence[State]], seed: int) -> Iterator[Row]:
    """Draw, score and judge each LoRA's states, one after the other."""
    wanted: list[State | None] = [None, *itertools.chain(*states.values())]
    studio.draw([shot for state in wanted for shot in shots_of(state, seed)])
    scorer, alone = open_scorer(), studio.see(shots_of(None, seed))
    for name, group in states.items():
        drawer = StudioDrawer(studio, group[0].file.parent)
        trials = Trials(studio.folder / "trials", drawer, scorer, prompts_of(SCENES), (seed,))
        for state in group:
            score, seen = trials.measure(state, 1), studio.see(shots_of(state, seed))
            identity = mean(one.identity for one in seen)
            kept = accuracy(seen, alone, SCENES)
            yield Row(name, state, score, identity, kept, hits(seen, SCENES))


def record(studio: Studio, states: Sequence[State]) -> None:
    """Keep pictures of the base model alone and of some states: a row each, a column a scene."""
    width, height = studio.look.size
    rows = [None, *states]
    sheet = Image.new("RGB", (width * len(RECORDED), height * len(rows)))
    for row, state in enumerate(rows):
        for column, file in enumerate(studio.draw(shots_of(state, scenes=RECORDED))):
            sheet.paste(open_image(file), (column * width, row * height))
    with written_beside(RECORD) as beside:
        sheet.save(beside, format="JPEG", quality=92, subsampling=0)


def read_record() -> list[list[Image.Image]]:
    """The recorded pictures of each state, the base model's first."""
    width, height = embedded.RESOLUTION
    sheet = open_image(RECORD).convert("RGB")
    return [
        [
            sheet.crop((left, top, left + width, top + height))
            for left in range(0, sheet.width, width)
        ]
        for top in range(0, sheet.height, height)
    ]


def open_scorer() -> Scorer:
    """The scorer of rimochan, with the embedded base model."""
    references = [fitted(found, embedded.RESOLUTION) for found in read_references(FIVE)]
    return Scorer(PictureEncoder(load_checkpoint(embedded.MODEL)), references)


def accuracy(
    seen: Sequence[Seen | Verdict], alone: Sequence[Seen | Verdict], asked: Sequence[Asked]
) -> float:
    """Of one state's pictures, what is as asked, 0..1: pose, place, clothes, detail, each as much.

    The background's detail counts as a share of what the base model alone draws, 1 at most.
    """
    detail = mean(
        min(one.detail / max(other.detail, 1e-6), 1.0)
        for one, other in zip(seen, alone, strict=True)
    )
    return (3 * hits(seen, asked) + detail) / 4


def hits(seen: Sequence[Seen | Verdict], asked: Sequence[Asked]) -> float:
    """Of one state's pictures, the share of poses, places and clothes that are as asked."""
    return mean(
        there == wanted
        for one, parts in zip(seen, asked, strict=True)
        for there, wanted in zip((one.pose, one.place, one.outfit), parts, strict=True)
        if wanted
    )


def correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Spearman's rank correlation; equal values share their rank."""
    return float(np.corrcoef(_ranks(one), _ranks(other))[0, 1])


def _ranks(values: Sequence[float]) -> NDArray[np.float64]:
    array = np.asarray(values)
    below = (array[None] < array[:, None]).sum(1)
    equal = (array[None] == array[:, None]).sum(1)
    ranks: NDArray[np.float64] = below + (equal - 1) / 2
    return ranks


def correlations(rows: Sequence[Row]) -> str:
    """Fit with identity and keeping with accuracy, of all states and of each LoRA's.

    Beside them keeping with poses, places and clothes alone, which hardly tell states apart where
    nearly all are as asked.
    """
    names = dict.fromkeys(row.lora for row in rows)
    groups = {"all": list(rows)} | {n: [row for row in rows if row.lora == n] for n in names}
    lines = ["states            fit with identity  keeping with accuracy  with hits alone"]
    for name, group in groups.items():
        fit = correlation([row.score.fit for row in group], [row.identity for row in group])
        keeping = [row.score.keeping for row in group]
        kept = correlation(keeping, [row.accuracy for row in group])
        hit = correlation(keeping, [row.hits for row in group])
        lines.append(f"{name:12}{len(group):4}  {fit:17.2f}  {kept:21.2f}  {hit:15.2f}")
    return "\n".join(lines)


def choices(rows: Sequence[Row], judged: Mapping[tuple[str, State], Row]) -> str:
    """What the judge says of the last step, the author's vector, the scorer's choice and its own.

    Both choose among `rows`; what their choices are worth is what `judged` says of other pictures.
    The gain is the choice's over the last step at strength 1, as a share of the judge's own.
    """
    lines = ["LoRA          last  author's vector  choice  judge's    gain"]
    sums = [0.0, 0.0]
    for name in dict.fromkeys(row.lora for row in rows):
        group = [row for row in rows if row.lora == name]
        usual_state = usual_of([row.state for row in group])
        usual = next(row for row in group if row.state == usual_state)
        highest = max(group, key=lambda row: row.score.total)
        choice = (highest if gains_enough(highest.score, usual.score) else usual).state
        oracle = max(group, key=lambda row: row.judged).state
        last, author, chosen, best = (
            judged[name, state].judged
            for state in (usual.state, State(usual.state.file, 1.0, AUTHORS_VECTOR), choice, oracle)
        )
        sums = [sums[0] + chosen - last, sums[1] + best - last]
        lines.append(
            f"{name:12}{last:6.3f}  {author:15.3f}  {chosen:6.3f}  {best:7.3f}"
            f"  {chosen - last:+.3f} of {best - last:+.3f}"
        )
        lines.append(f"    choice {choice.tag}, the judge's {oracle.tag}")
    lines.append(f"together {sums[0]:+.3f} of {sums[1]:+.3f}, {sums[0] / (sums[1] or 1):.0%}")
    return "\n".join(lines)


def together(rows: Sequence[Row], others: Sequence[Row]) -> list[Row]:
    """The same states, in the same order, by both seeds' pictures at once."""
    return [
        Row(
            one.lora,
            one.state,
            Score(
                mean((one.score.fit, other.score.fit)),
                mean((one.score.keeping, other.score.keeping)),
            ),
            identity=mean((one.identity, other.identity)),
            accuracy=mean((one.accuracy, other.accuracy)),
            hits=mean((one.hits, other.hits)),
        )
        for one, other in zip(rows, others, strict=True)
    ]


def told(row: Row) -> Row:
    """Print a row."""
    print(
        f"{row.lora:8} {row.state.tag}  fit {row.score.fit:.3f} identity {row.identity:.3f}  "
        f"keeping {row.score.keeping:.3f} accuracy {row.accuracy:.3f} hits {row.hits:.3f}",
        flush=True,
    )
    return row


def main() -> None:
    """Train, draw, score, judge and correlate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("output/scoring"))
    parser.add_argument("--record", action="store_true", help="renew the pictures of the tests")
    parser.add_argument("--steps", type=int, default=8, help="sampling steps (8)")
    parser.add_argument("--training-steps", type=int, default=400, help="of each LoRA (400)")
    parser.add_argument("--loras", type=Path, nargs="+", help="instead of training three")
    parser.add_argument("--processes", type=int, help="processes that train and draw (the cores)")
    arguments = parser.parse_args()
    if arguments.record and arguments.loras:
        parser.error("--record keeps pictures of the three LoRAs: leave --loras out")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    studio = open_studio(arguments.folder, processes=arguments.processes)
    studio.look = dataclasses.replace(studio.look, steps=arguments.steps)
    try:
        rng = random.Random(0)
        if arguments.loras:
            named = {lora.parent.name: lora for lora in arguments.loras}
        else:
            recipes = recipes_of(arguments.training_steps)
            loras = studio.train(recipes)
            named = {recipe.name: lora for recipe, lora in zip(recipes, loras, strict=True)}
        candidates = {name: candidates_of(lora) for name, lora in named.items()}
        vectors = {name: with_random_vectors(lora, rng) for name, lora in named.items()}
        chosen_by, more, judged = (
            [told(row) for row in rows_of(studio, states, seed)]
            for states, seed in (
                (candidates, SEED),
                (vectors, SEED),
                (candidates, OTHER_SEED),
            )
        )
    finally:
        studio.close()
    both = together(chosen_by, judged)
    print(correlations([*chosen_by, *more]))
    print("by both seeds' pictures, random vectors left out")
    print(correlations(both))
    for rows, others in ((chosen_by, judged), (judged, chosen_by), (both, both)):
        print(choices(rows, {(row.lora, row.state): row for row in others}))
    if arguments.record:
        strong = [state for state in candidates["strong"] if not state.blocks]
        last = named["strong"]
        at_strengths = [state for state in strong if state.file == last and state.strength < 1.5]
        record(studio, sorted(at_strengths, key=lambda state: state.strength))


if __name__ == "__main__":
    main()
