"""Which saved step at which strength: the states of a training, tried against each other."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image

from lib_rimo.errors import UserError
from lib_rimo.files import file_hash, written_beside
from lib_rimo.scoring.halving import halve, pictures_needed
from lib_rimo.scoring.scorer import Score, Scorer

_SAVED = re.compile(r"-(?:step\d{8}|\d{6})$")  # what the trainer puts after a name: step or epoch


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


def saved_files(folder: Path, name: str) -> list[Path]:
    """What a training of this name left: its steps or epochs in order, then the LoRA itself.

    Raises UserError where there is none.
    """
    files = [
        file
        for file in sorted(folder.glob(f"{_literal(name)}*.safetensors"))
        if file.stem == name or (_SAVED.sub("", file.stem) == name and _SAVED.search(file.stem))
    ]
    if not files:
        raise UserError(
            'There is no LoRA "{name}" in {folder}: name one without its ending and step.',
            name=name,
            folder=folder,
        )
    return sorted(files, key=lambda file: (file.stem == name, file.stem))


@dataclass(frozen=True)
class Result:
    """A state, what it scored, and on how many pictures."""

    state: State
    score: Score
    pictures: int


class Choice:
    """Draws, scores and compares states; pictures are kept in `folder` and never drawn twice."""

    def __init__(
        self,
        folder: Path,
        drawer: Drawer,
        scorer: Scorer,
        prompts: Sequence[str],
        seeds: Sequence[int],
        on_picture: Callable[[int], object] = lambda count: None,
    ) -> None:
        self._folder, self._drawer, self._scorer = folder, drawer, scorer
        self.prompts, self._seeds, self._on_picture = prompts, seeds, on_picture
        self._folder.mkdir(parents=True, exist_ok=True)
        self._notes = folder / "scores.jsonl"
        self._scores = _read_notes(self._notes)
        self._base_is_known = False
        self._hashes: dict[Path, str] = {}
        self._results: dict[State, Result] = {}

    def pictures_needed(self, states: int) -> int:
        """How many pictures a run over so many states draws, where none lies there yet."""
        seeds = len(self._seeds)
        return len(self.prompts) * (seeds + pictures_needed(states, seeds))

    def run(self, states: Sequence[State]) -> list[Result]:
        """Try all states and return them, best first."""
        ranked = halve(states, self._total, len(self._seeds))
        return [self._results[state] for state in ranked]

    @property
    def results(self) -> list[Result]:
        """What is known so far, best first; for whoever stops early."""
        known = self._results.values()
        return sorted(known, key=lambda result: (-result.pictures, -result.score.total))

    def measure(self, state: State, given: int) -> Score:
        """The mean score of a state over all prompts and its first `given` seeds."""
        scores = [
            self._score(state, prompt, seed)
            for prompt in self.prompts
            for seed in self._seeds[:given]
        ]
        mean = Score(
            sum(score.fit for score in scores) / len(scores),
            sum(score.keeping for score in scores) / len(scores),
        )
        self._results[state] = Result(state, mean, len(scores))
        return mean

    def _total(self, state: State, given: int) -> float:
        return self.measure(state, given).total

    def pictures(self, state: State | None) -> list[Image.Image]:
        """A state's first picture of every prompt, or the base model's alone, for showing."""
        return [self.picture(state, prompt, self._seeds[0]) for prompt in self.prompts]

    def _score(self, state: State, prompt: str, seed: int) -> Score:
        key = self._digest(state, prompt, seed, self._scorer.identity, *self._beside())
        if key not in self._scores:
            self._know_base()
            picture = self.picture(state, prompt, seed)
            score = self._scorer.score(prompt, self._seeds.index(seed), picture)
            self._scores[key] = score
            with self._notes.open("a", encoding="utf-8") as notes:
                notes.write("\n" + json.dumps([key, score.fit, score.keeping]))
        return self._scores[key]

    def _beside(self) -> list[str]:
        """What a score depends on besides: which of the character's cells count goes by these."""
        return [*self.prompts, *map(str, self._seeds)]

    def _know_base(self) -> None:
        if self._base_is_known:
            return
        self._scorer.know_base(
            {
                prompt: [self.picture(None, prompt, seed) for seed in self._seeds]
                for prompt in self.prompts
            }
        )
        self._base_is_known = True

    def picture(self, state: State | None, prompt: str, seed: int) -> Image.Image:
        """A state's picture, or the base model's alone; drawn unless it lies there."""
        # A space alone: without its tag the text is the base's own, to the last comma.
        text = prompt if state is None else f"{prompt} {state.tag}"
        file = self._folder / "pictures" / f"{self._digest(state, prompt, seed)}.png"
        if not file.exists():
            (image,) = self._drawer.draw(text, [seed])
            with written_beside(file) as beside:
                image.save(beside, format="PNG")
            self._on_picture(1)
        with Image.open(file) as opened:
            read: Image.Image = opened.convert("RGB")
        return read

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
            key, fit, keeping = json.loads(line)
            scores[str(key)] = Score(float(fit), float(keeping))
    return scores


def states_of(files: Iterable[Path], strengths: Sequence[float]) -> list[State]:
    """Every file at every strength."""
    return [State(file, strength) for file in files for strength in strengths]


def table(results: Sequence[Result]) -> str:
    """Results as lines of text, the best first."""
    width = max(len(result.state.tag) for result in results)
    head = f"{'':{width}}   fit  keeping  score  pictures"
    lines = [
        f"{result.state.tag:{width}}  {result.score.fit:4.2f}  {result.score.keeping:7.2f}"
        f"  {result.score.total:5.2f}  {result.pictures:8}"
        for result in results
    ]
    return "\n".join([head, *lines])


def _literal(name: str) -> str:
    return re.sub(r"([\[*?])", r"[\1]", name)
