"""Attack Rimo with odd, damaged and hostile inputs from a seed, and count what gives way.

    python -m lib_rimo test attack              every part, small
    python -m lib_rimo test attack --large      a million texts, 100 kills ...: an hour
    python -m lib_rimo test attack --part kills --large

Everything is written into temporary folders that are deleted again. With --results what was found
is kept in a file, slice by slice, and a run that was broken off goes on from there.
"""

import argparse
import importlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.attack.tally import KINDS, Tally


class Part(NamedTuple):
    """Where a part of the attack is, and how much of it there is."""

    function: str
    small: int
    large: int
    slice: int
    """As much as is done between two notes of what was found."""


PARTS = {
    "texts": Part("texts.attack", 1000, 1_000_000, 50_000),
    "long texts": Part("texts.attack_with_long_ones", 1, 3, 3),
    "page": Part("page.attack", 2000, 1_000_000, 50_000),
    "loras": Part("loras.attack", 60, 400, 100),
    "pictures": Part("pictures.attack", 12, 100, 25),
    "jobs": Part("jobs.attack", 50, 1000, 250),
    "paths": Part("paths.attack", 6, 300, 50),
    "verbs": Part("verbs.attack", 5, 200, 50),
    "kills": Part("kills.attack", 3, 100, 10),
}


def run_part(name: str, count: int, seed: int = 0) -> Tally:
    """Run one part in a temporary folder."""
    module, function = PARTS[name].function.split(".")
    with tempfile.TemporaryDirectory(prefix="rimo-attack-") as folder:
        attack = getattr(importlib.import_module(f"tests.attack.{module}"), function)
        tally: Tally = attack(count, seed, Path(folder))
    return tally


def run_slices(name: str, count: int, seed: int, tally: Tally) -> Iterator[None]:
    """Run a part slice by slice, each from a seed of its own, where `tally` says that it is."""
    size = PARTS[name].slice
    while tally.done < count:
        found = run_part(name, min(size, count - tally.done), seed + tally.done // size)
        tally.add(found, min(size, count - tally.done))
        yield


def table(tallies: dict[str, Tally]) -> str:
    """What was found as a table in Markdown."""
    lines = [f"| part | tried | {' | '.join(KINDS)} | worst |", "| --- " * (3 + len(KINDS)) + "|"]
    for name, tally in tallies.items():
        tried = ", ".join(f"{number:,} {what}" for what, number in tally.tried.items())
        failures = " | ".join(str(tally.failures.get(kind, 0)) for kind in KINDS)
        worst = ", ".join(f"{value:g} {what}" for what, value in tally.worst.items())
        lines.append(f"| {name} | {tried} | {failures} | {worst} |")
    return "\n".join(lines)


def main() -> int:
    """Run the parts that are asked for; 1 where something gave way."""
    parser = argparse.ArgumentParser(
        prog="python -m lib_rimo test attack",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--large", action="store_true", help="as much as is worth an hour")
    parser.add_argument("--part", action="append", choices=PARTS, help="only this one; repeatable")
    parser.add_argument("--count", type=int, help="so much of each part")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, help="JSON file to keep what was found in")
    arguments = parser.parse_args()
    tallies: dict[str, Tally] = {}
    if arguments.results and arguments.results.exists():
        known = json.loads(arguments.results.read_text(encoding="utf-8"))
        tallies = {name: Tally(**content) for name, content in known.items()}
    for name in arguments.part or PARTS:
        part = PARTS[name]
        count = arguments.count or (part.large if arguments.large else part.small)
        tally = tallies.get(name, Tally())
        told = len(tally.examples)
        try:
            for _ in run_slices(name, count, arguments.seed, tally):
                tallies[name] = tally
                for example in tally.examples[told:]:
                    print(f"{name}: {example}", file=sys.stderr)
                told = len(tally.examples)
                if arguments.results:
                    content = {known: vars(found) for known, found in tallies.items()}
                    arguments.results.write_text(json.dumps(content, indent=1), encoding="utf-8")
        except (ImportError, RuntimeError) as error:
            print(f"{name}: cannot be run here ({error})", file=sys.stderr)
    print(table(tallies))
    return int(any(tally.failures for tally in tallies.values()))


if __name__ == "__main__":
    # A process that is forked takes no threads with it, and small models need none.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
