"""See everything work: from five bundled pictures to a LoRA, pictures with it, and a report.

    python -m lib_rimo demo

trains the recipe on the bundled base model, draws its author's plots and writes one report with
the LoRA beside it, in about nine minutes on two cores. What is finished is kept: a run that was
stopped goes on, and a second one ends at once. `reproduce` is the
long form.
"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "five pictures -> a LoRA -> plots with it -> one report, in minutes"
NEEDS = "demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    add_studio_arguments(parser, Path("output/demo"))
    parser.add_argument(
        "--rates",
        type=float,
        metavar="FACTOR",
        help="factor on the recipe's learning rates, which are made for wider models; "
        "1 is the recipe to the letter",
    )


def add_studio_arguments(parser: argparse.ArgumentParser, folder: Path) -> None:
    """Declare what both runs take."""
    parser.add_argument(
        "--out", type=Path, default=folder, metavar="DIR", help=f"where to ({folder})"
    )
    parser.add_argument(
        "--processes", type=int, metavar="N", help="how many to work with (one a core)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run and print the report's path."""
    from lib_rimo.demo.reproduce import demo, open_studio
    from lib_rimo.sd.embedded import LEARNING_RATE_FACTOR

    factor = LEARNING_RATE_FACTOR if arguments.rates is None else arguments.rates
    print(demo(open_studio(arguments.out, processes=arguments.processes), factor=factor))
    return 0
