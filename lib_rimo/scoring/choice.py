"""Which saved step at which strength: the states of a training, tried against each other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from lib_rimo.errors import UserError
from lib_rimo.messages import Message
from lib_rimo.scoring import halving
from lib_rimo.scoring.trials import Result, State, Trials

_SAVED = re.compile(r"-(?:step\d{8}|\d{6})$")  # what the trainer puts after a name: step or epoch


def saved_files(folder: Path, name: str) -> list[Path]:
    """What a training of this name left: its steps or epochs in order, then the LoRA itself.

    Raises UserError where there is none.
    """
    files = [
        file
        for file in (sorted(folder.iterdir()) if folder.is_dir() else ())
        if file.suffix == ".safetensors"
        if file.stem == name or (_SAVED.sub("", file.stem) == name and _SAVED.search(file.stem))
    ]
    if not files:
        raise UserError(
            'There is no LoRA "{name}" in {folder}: name one without its ending and step.',
            name=name,
            folder=folder,
        )
    return sorted(files, key=lambda file: (file.stem == name, file.stem))


def pictures_needed(trials: Trials, states: int) -> int:
    """How many pictures a choice among so many states looks at."""
    return len(trials.prompts) * (
        len(trials.seeds) + halving.pictures_needed(states, len(trials.seeds))
    )


def choose(trials: Trials, states: Sequence[State]) -> list[Result]:
    """Try all states and return them, best first."""
    ranked = halving.halve(
        states, lambda state, given: trials.measure(state, given).total, len(trials.seeds)
    )
    return [trials.result(state) for state in ranked]


def states_of(files: Iterable[Path], strengths: Sequence[float]) -> list[State]:
    """Every file at every strength."""
    return [State(file, strength) for file in files for strength in strengths]


def reason_of(results: Sequence[Result], last: State) -> Message:
    """Why the first of the results is best, beside the last step where that was tried."""
    best = results[0]
    beside = next((result for result in results if result.state == last), best)
    if beside is best:
        return Message(
            "{tag} serves best: fit {fit}, keeping {keeping}.",
            level="note",
            tag=best.state.tag,
            **_numbers(best),
        )
    return Message(
        "{tag} serves best: fit {fit}, keeping {keeping}. {last} has {last_fit} and "
        "{last_keeping}.",
        level="note",
        tag=best.state.tag,
        last=last.tag,
        **_numbers(best),
        **{f"last_{name}": value for name, value in _numbers(beside).items()},
    )


def _numbers(result: Result) -> dict[str, str]:
    return {"fit": f"{result.score.fit:.2f}", "keeping": f"{result.score.keeping:.2f}"}
