"""Attack Rimo with odd, damaged and hostile inputs from a seed, and count what gives way.

    python -m lib_rimo test attack              every part, small
    python -m lib_rimo test attack --large      a million texts, 100 kills ...: an hour
    python -m lib_rimo test attack --part kills --large

Everything is written into a temporary folder that is deleted again. With --results what each part
found is kept in a file, and parts that stand there already are not run again.
"""

import argparse
import importlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.attack.tally import KINDS


class Part(NamedTuple):
    """Where a part of the attack is, and how much of it there is."""

    function: str
    small: int
    large: int


PARTS = {
    "texts": Part("texts.attack", 1000, 1_000_000),
    "long texts": Part("texts.attack_with_long_ones", 1, 3),
    "page": Part("page.attack", 2000, 1_000_000),
    "loras": Part("loras.attack", 60, 400),
    "pictures": Part("pictures.attack", 12, 100),
    "jobs": Part("jobs.attack", 50, 1000),
    "paths": Part("paths.attack", 10, 300),
    "verbs": Part("verbs.attack", 5, 200),
    "kills": Part("kills.attack", 2, 100),
}


def run_part(name: str, count: int, seed: int = 0) -> dict:
    """Run one part in a temporary folder; its tally as plain values."""
    module, function = PARTS[name].function.split(".")
    with tempfile.TemporaryDirectory(prefix="rimo-attack-") as folder:
        attack = getattr(importlib.import_module(f"tests.attack.{module}"), function)
        began = time.perf_counter()
        tally = attack(count, seed, Path(folder)).as_json()
    return {**tally, "seconds": round(time.perf_counter() - began, 1)}


def table(results: dict[str, dict]) -> str:
    """The results as a table in Markdown."""
    lines = [f"| part | tried | {' | '.join(KINDS)} | worst |", "| --- " * (3 + len(KINDS)) + "|"]
    for name, result in results.items():
        tried = ", ".join(f"{number:,} {what}" for what, number in result["tried"].items())
        failures = " | ".join(str(result["failures"].get(kind, 0)) for kind in KINDS)
        worst = ", ".join(f"{value:g} {what}" for what, value in result["worst"].items())
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
    parser.add_argument("--results", type=Path, help="JSON file that parts are kept in")
    arguments = parser.parse_args()
    results: dict[str, dict] = {}
    if arguments.results and arguments.results.exists():
        results = json.loads(arguments.results.read_text(encoding="utf-8"))
    for name in arguments.part or PARTS:
        if name in results:
            continue
        part = PARTS[name]
        count = arguments.count or (part.large if arguments.large else part.small)
        try:
            results[name] = run_part(name, count, arguments.seed)
        except (ImportError, RuntimeError) as error:
            print(f"{name}: cannot be run here ({error})", file=sys.stderr)
            continue
        for example in results[name]["examples"]:
            print(f"{name}: {example}", file=sys.stderr)
        if arguments.results:
            arguments.results.write_text(json.dumps(results, indent=1), encoding="utf-8")
    print(table(results))
    return int(any(result["failures"] for result in results.values()))


if __name__ == "__main__":
    # A process that is forked takes no threads with it, and small models need none.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
