"""Find out which saved step of a training, at which strength, serves best.

Every saved step is drawn at several strengths and scored by the base model itself: fit, how much it
is the character of the training pictures, and keeping, how much of what the prompt says beside her
is still in the picture. Few pictures first, more of what is still in the running. Pictures are
kept: an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from lib_rimo.errors import UserError
from lib_rimo.scoring.console import add_search_arguments

if TYPE_CHECKING:
    from PIL import Image

    from lib_rimo.scoring.trials import Result, State, Trials

HELP = "which saved step at which strength serves best"
SEEDS = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    add_search_arguments(parser, SEEDS)
    parser.add_argument(
        "--strengths", default="0.6,0.8,1", help="strengths to try, with commas (0.6,0.8,1)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Try all states; print a table and the winner's tag, and write a strip of pictures."""
    from lib_rimo.scoring.choice import (
        choose,
        pictures_needed,
        reason_of,
        saved_files,
        states_of,
        usual_of,
    )
    from lib_rimo.scoring.console import Session
    from lib_rimo.scoring.finding import Finding

    files = saved_files(arguments.lora_dir, arguments.name)
    states = states_of(files, _strengths(arguments.strengths))
    folder = arguments.out or arguments.lora_dir / f"{arguments.name}.choice"
    session = Session(arguments, folder, files)
    trials = session.trials(range(1, arguments.seeds + 1))

    def chosen() -> list[Result]:
        session.begin(pictures_needed(trials, len(states)), trials)
        return choose(trials, states)

    whole = session.attempt(chosen)
    results = whole or trials.results
    if not results:
        return 130
    usual = usual_of(states)
    finding = Finding(
        results[0].state, [reason_of(results, usual)], results, is_whole=whole is not None
    )
    if whole is not None:
        finding.add_strip("choice", _strip(trials, results[0].state, usual), folder)
    session.end(finding)
    return 0


def _strengths(text: str) -> list[float]:
    try:
        strengths = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise UserError(f'--strengths "{text}" are no numbers; write them as 0.6,0.8,1.') from error
    if not all(0 < abs(strength) < 100 for strength in strengths):
        raise UserError("--strengths are numbers such as 0.6,0.8,1; 0 would draw without the LoRA.")
    return strengths


def _strip(trials: Trials, winner: State, usual: State) -> Image.Image:
    """The base alone, the winner and the last step, a column a prompt."""
    from lib_rimo.inference.grid import draw_grid

    rows: dict[str, State | None] = {"without": None, winner.tag: winner, usual.tag: usual}
    pictures = [picture for state in rows.values() for picture in trials.pictures(state)]
    return draw_grid(pictures, trials.prompts, list(rows))
