"""Measure every claim about the recipe on the embedded world and write one report.

    python -m lib_rimo reproduce

trains some forty LoRAs and draws some thousands of pictures: hours on two cores. What is finished
is kept, so it can be stopped at any time and goes on where it was; the report is written anew
after each claim. `--quick` measures everything with few pictures and one training each.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lib_rimo.commands.demo import add_studio_arguments

HELP = "measure every claim about the recipe: figures, tables, one report (hours)"
NEEDS = "demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    add_studio_arguments(parser, Path("output/reproduce"))
    parser.add_argument(
        "--quick", action="store_true", help="few pictures and one training each, for a first look"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run and print the report's path."""
    from lib_rimo.demo.reproduce import QUICK, WHOLE, open_studio, reproduce

    studio = open_studio(arguments.out, processes=arguments.processes)
    print(reproduce(studio, QUICK if arguments.quick else WHOLE))
    return 0
