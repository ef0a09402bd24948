"""Which saved step at which strength: the states of a training, tried against each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from lib_rimo.errors import UserError
from lib_rimo.messages import Message
from lib_rimo.scoring import halving
from lib_rimo.scoring.scorer import Score
from lib_rimo.scoring.trials import Result, State, Trials
from lib_rimo.training.config.names import output_name_of

LEAST_GAIN = 0.02
"""By how much of a score's total another state has to be better than the usual one to be chosen.
Less is what these seeds happened to show: `python -m benchmarks.scoring`."""


def saved_files(folder: Path, name: str) -> list[Path]:
    """What a training of this name left: its steps or epochs in order, then the LoRA itself.

    Raises UserError where there is none.
    """
    files = [
        file
        for file in (sorted(folder.iterdir()) if folder.is_dir() else ())
        if file.suffix == ".safetensors"
        if name in (file.stem, output_name_of(file.stem))
    ]
    if not files:
        raise UserError(
            'There is no LoRA "{name}" in {folder}: name one without its ending and step.',
            name=name,
            folder=folder,
        )
    return sorted(files, key=lambda file: (file.stem == name, file.stem))


def pictures_needed(trials: Trials, states: int) -> int:
    """How many pictures a choice among so many states looks at, at most."""
    seeds = len(trials.seeds)
    # The base model's own, every round's, and what the usual state needs that left in the first.
    return len(trials.prompts) * (seeds + halving.pictures_needed(states, seeds) + seeds - 1)


def choose(trials: Trials, states: Sequence[State]) -> list[Result]:
    """Try all states and return them, best first; the usual one, unless another gains enough."""
    seeds, usual = len(trials.seeds), usual_of(states)
    ranked = halving.halve(states, lambda state, given: trials.measure(state, given).total, seeds)
    if not gains_enough(trials.measure(ranked[0], seeds), trials.measure(usual, seeds)):
        ranked = [usual, *(state for state in ranked if state != usual)]
    return [trials.result(state) for state in ranked]


def gains_enough(score: Score, usual: Score) -> bool:
    """Whether a state is so much better than the usual one that it is chosen in its place."""
    return score.total - usual.total >= LEAST_GAIN


def usual_of(states: Sequence[State]) -> State:
    """What is used without a search: the last of the files, at the strength next to 1."""
    last = states[-1].file
    return min(
        (state for state in states if state.file == last), key=lambda state: abs(state.strength - 1)
    )


def states_of(files: Iterable[Path], strengths: Sequence[float]) -> list[State]:
    """Every file at every strength."""
    return [State(file, strength) for file in files for strength in strengths]


def reason_of(results: Sequence[Result], usual: State) -> Message:
    """Why the first of the results is chosen, beside the usual state where that was tried."""
    best = results[0]
    beside = next((result for result in results if result.state == usual), best)
    if beside is not best:
        return Message(
            "{tag} serves best: fit {fit}, keeping {keeping}. {last} has {last_fit} and "
            "{last_keeping}.",
            level="note",
            tag=best.state.tag,
            last=usual.tag,
            **_numbers(best),
            **{f"last_{name}": value for name, value in _numbers(beside).items()},
        )
    as_many = [result for result in results if result.pictures == best.pictures]
    other = max(as_many, key=lambda result: result.score.total)
    if other.score.total > best.score.total:
        return Message(
            "{tag} serves as well as any: fit {fit}, keeping {keeping}. What {other} gains is less "
            "than these pictures can tell.",
            level="note",
            tag=best.state.tag,
            other=other.state.tag,
            **_numbers(best),
        )
    return Message(
        "{tag} serves best: fit {fit}, keeping {keeping}.",
        level="note",
        tag=best.state.tag,
        **_numbers(best),
    )


def _numbers(result: Result) -> dict[str, str]:
    return {"fit": f"{result.score.fit:.2f}", "keeping": f"{result.score.keeping:.2f}"}
