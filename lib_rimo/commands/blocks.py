"""Find the block weights that bring most of the prompt back while the character stays.

First every block of the LoRA is turned off alone: what that does is told in numbers and in a strip
of pictures in the UNet's shape. Then vectors are tried, the author's and your presets among them,
for the one with most keeping of those that lose at most a tenth of the fit. The result is checked
on seeds that the search did not see. Pictures are kept: an interrupted run goes on where it
stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lib_rimo.scoring.console import add_search_arguments

if TYPE_CHECKING:
    from PIL import Image

    from lib_rimo.scoring.block_search import BlockSearch, Outcome
    from lib_rimo.scoring.trials import State, Trials

HELP = "which blocks of a LoRA to turn down"
SEEDS = 2
UNSEEN_SEEDS = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    add_search_arguments(parser, SEEDS)
    parser.add_argument("--strength", type=float, default=1.0, help="the LoRA's strength (1)")
    parser.add_argument(
        "--presets", type=Path, metavar="DIR", help="folder with lbwpresets.txt, whose vectors join"
    )
    parser.add_argument(
        "--save-preset", metavar="NAME", help="keep the vector under a name, in that folder"
    )


def run(arguments: argparse.Namespace) -> int:
    """Search; print effects, a table and the tag, and write the strips."""
    from lib_rimo.inference.console import read_presets
    from lib_rimo.scoring.block_search import BlockSearch
    from lib_rimo.scoring.choice import saved_files
    from lib_rimo.scoring.console import Session
    from lib_rimo.scoring.finding import Finding
    from lib_rimo.scoring.trials import State
    from lib_rimo.weights.presets import save_preset

    lora = saved_files(arguments.lora_dir, arguments.name)[-1]
    folder = arguments.out or arguments.lora_dir / f"{arguments.name}.blocks"
    session = Session(arguments, folder, [lora])
    seen = session.trials(range(1, arguments.seeds + 1))
    first_unseen = arguments.seeds + 1
    unseen = session.trials(range(first_unseen, first_unseen + UNSEEN_SEEDS))
    search = BlockSearch(seen, State(lora, arguments.strength), read_presets(arguments))

    def searched() -> Outcome:
        session.begin(search.pictures_needed + 3 * len(unseen.prompts) * UNSEEN_SEEDS, seen)
        return search.run()

    def check(finding: Finding, outcome: Outcome) -> None:
        before, after = search.full, outcome.best.state
        scores = [unseen.measure(state, UNSEEN_SEEDS) for state in (before, after)]
        finding.messages = [outcome.reason, outcome.unseen_reason(*scores)]
        finding.add_strip("blocks", _strip(unseen, before, after), folder)

    whole = session.attempt(searched)
    if whole is None and not search.has_begun:
        return 130
    found = whole or search.outcome
    finding = Finding(found.best.state, [found.reason], found.tried, search.effects)
    finding.is_whole = whole is not None
    if search.effects:
        finding.add_strip("effects", _effects(search, seen), folder)
    if whole is not None:
        session.attempt(lambda: check(finding, found))
    if arguments.save_preset and found.is_better:
        save_preset(arguments.presets or Path(), arguments.save_preset, found.best.state.blocks)
    session.end(finding)
    return 0


def _effects(search: BlockSearch, trials: Trials) -> Image.Image:
    """The first prompt's picture without each block."""
    from lib_rimo.scoring.unet_strip import draw_effects

    def drawn(state: State | None) -> Image.Image:
        return trials.picture(state, *trials.shots[0])

    before = [("without the LoRA", drawn(None)), (search.full.tag, drawn(search.full))]
    pictures = {effect.block: drawn(effect.state) for effect in search.effects}
    return draw_effects(before, search.effects, pictures, search.depth)


def _strip(trials: Trials, before: State, after: State) -> Image.Image:
    """Without the LoRA, before and after, a column for each prompt and seed."""
    from lib_rimo.inference.grid import draw_grid

    rows: dict[str, State | None] = {"without": None, before.tag: before, after.tag: after}
    pictures = [trials.picture(state, *shot) for state in rows.values() for shot in trials.shots]
    columns = [f"{prompt}, seed {seed}" for prompt, seed in trials.shots]
    return draw_grid(pictures, columns, list(rows))
