"""Trials of a LoRA's states: pictures drawn, scored, and kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image

from lib_rimo.files import file_hash, written_beside
from lib_rimo.scoring.scorer import Score, Scorer
from lib_rimo.text import parse_json
from lib_rimo.training.data.image_files import open_image

_SEEDS_APART = 1000  # no search has so many of one prompt


def own_seed(seed: int, prompt: str, prompts: Sequence[str]) -> int:
    """What a prompt is drawn with for this seed of the first of the prompts: no other's seed.

    The noise decides what a prompt leaves open. Were the seeds the same for all prompts, all
    pictures together would be of a few noises, and a choice go by what those happen to show.
    """
    return seed + _SEEDS_APART * prompts.index(prompt)


@dataclass(frozen=True)
class State:
    """A LoRA file at a strength, with block weights where there are any."""

    file: Path
    strength: float = 1.0
    blocks: str = ""

    @property
    def tag(self) -> str:
        """What draws it in a prompt."""
        return f"<lora:{self.file.stem}:{self.strength:g}{':' if self.blocks else ''}{self.blocks}>"


class Drawer(Protocol):
    """Whoever draws: the command line's generator, or a WebUI."""

    def draw(self, prompt: str, seeds: Sequence[int]) -> list[Image.Image]:
        """A picture for each seed; all have one size."""

    def identity(self) -> str:
        """Changes whenever the same prompt and seed would be drawn otherwise."""


@dataclass(frozen=True)
class Result:
    """A state, what it scored, and on how many pictures."""

    state: State
    score: Score
    pictures: int


class Trials:
    """Draws, scores and compares states; pictures are kept in `folder` and never drawn twice."""

    def __init__(
        self,
        folder: Path,
        drawer: Drawer,
        scorer: Scorer,
        prompts: Sequence[str],
        seeds: Sequence[int],
        on_picture: Callable[[bool], object] = lambda is_new: None,
    ) -> None:
        """Each prompt's seeds are as many as `seeds`: see `seeds_of`.

        `on_picture` is told once of each picture looked at: whether it had to be drawn.
        """
        self._folder, self._drawer, self._scorer = folder, drawer, scorer
        self.prompts, self.seeds, self._on_picture = prompts, seeds, on_picture
        self._folder.mkdir(parents=True, exist_ok=True)
        self._notes = folder / "scores.jsonl"
        self._scores = _read_notes(self._notes)
        self._base_is_known = False
        self._hashes: dict[Path, str] = {}
        self._results: dict[State, Result] = {}
        self._looked_at: set[str] = set()

    @property
    def results(self) -> list[Result]:
        """What is known so far, best first; for whoever stops early."""
        known = self._results.values()
        return sorted(known, key=lambda result: (-result.pictures, -result.score.total))

    def measure(self, state: State, given: int) -> Score:
        """The mean score of a state over all prompts and its first `given` seeds."""
        numbers = range(min(given, len(self.seeds)))
        scores = [
            self._score(state, prompt, number) for prompt in self.prompts for number in numbers
        ]
        mean = Score(
            sum(score.fit for score in scores) / len(scores),
            sum(score.keeping for score in scores) / len(scores),
        )
        known = self._results.get(state)
        if known is None or known.pictures <= len(scores):
            self._results[state] = Result(state, mean, len(scores))
        return mean

    def result(self, state: State) -> Result:
        """What a state that was measured scored on the most pictures."""
        return self._results[state]

    def pictures(self, state: State | None) -> list[Image.Image]:
        """A state's first picture of every prompt, or the base model's alone, for showing."""
        return [self.picture(state, prompt, self.seeds_of(prompt)[0]) for prompt in self.prompts]

    def seeds_of(self, prompt: str) -> list[int]:
        """The seeds that a prompt is drawn with: no other prompt's, the same with every state."""
        return [own_seed(seed, prompt, self.prompts) for seed in self.seeds]

    @property
    def shots(self) -> list[tuple[str, int]]:
        """Every prompt with each of its seeds."""
        return [(prompt, seed) for prompt in self.prompts for seed in self.seeds_of(prompt)]

    def _score(self, state: State, prompt: str, number: int) -> Score:
        """Of a prompt's picture with its seed of that number, from 0."""
        seed = self.seeds_of(prompt)[number]
        key = self._digest(state, prompt, seed, self._scorer.identity, *self._beside())
        if key in self._scores:
            self._look_at(self._digest(state, prompt, seed), is_new=False)
        else:
            self._know_base()
            picture = self.picture(state, prompt, seed)
            score = self._scorer.score(prompt, number, picture)
            self._scores[key] = score
            with self._notes.open("a", encoding="utf-8") as notes:
                notes.write("\n" + json.dumps([key, score.fit, score.keeping]))
        return self._scores[key]

    def _beside(self) -> list[str]:
        """What a score depends on besides: what the base draws of these is its measure."""
        return [*self.prompts, *(str(seed) for _, seed in self.shots)]

    def _know_base(self) -> None:
        if self._base_is_known:
            return
        self._scorer.know_base(
            {
                prompt: [self.picture(None, prompt, seed) for seed in self.seeds_of(prompt)]
                for prompt in self.prompts
            }
        )
        self._base_is_known = True

    def picture(self, state: State | None, prompt: str, seed: int) -> Image.Image:
        """A state's picture, or the base model's alone; drawn unless it lies there."""
        # A space alone: without its tag the text is the base's own, to the last comma.
        text = prompt if state is None else f"{prompt} {state.tag}"
        digest = self._digest(state, prompt, seed)
        file = self._folder / "pictures" / f"{digest}.png"
        is_new = not file.exists()
        if is_new:
            (image,) = self._drawer.draw(text, [seed])
            with written_beside(file) as beside:
                image.save(beside, format="PNG")
        self._look_at(digest, is_new=is_new)
        return open_image(file).convert("RGB")

    def _look_at(self, digest: str, *, is_new: bool) -> None:
        if digest not in self._looked_at:
            self._looked_at.add(digest)
            self._on_picture(is_new)

    def _digest(self, state: State | None, prompt: str, seed: int, *more: str) -> str:
        """Stands for all that a picture, or with `more` its score, depends on."""
        drawn = None if state is None else [self._hash(state.file), state.strength, state.blocks]
        what = json.dumps([self._drawer.identity(), drawn, prompt, seed, *more])
        return hashlib.sha256(what.encode()).hexdigest()[:16]

    def _hash(self, file: Path) -> str:
        if file not in self._hashes:
            self._hashes[file] = file_hash(file)
        return self._hashes[file]


def _read_notes(file: Path) -> dict[str, Score]:
    """Scores of earlier runs; a line that was cut short by a kill is passed over."""
    scores = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        with suppress(ValueError):
            key, fit, keeping = parse_json(line)
            scores[str(key)] = Score(float(fit), float(keeping))
    return scores
