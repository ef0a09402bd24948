"""Write `docs/options.md`, the page of all training options, from their declarations."""

from __future__ import annotations

import argparse
import dataclasses

from lib_rimo.environment import ROOT
from lib_rimo.training.config.declaration import option_type
from lib_rimo.training.config.options import GROUPS, TrainingOptions

HELP = "write the page of all training options"
PAGE = ROOT / "docs" / "options.md"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments."""


def run(arguments: argparse.Namespace) -> int:
    """Write the page."""
    PAGE.write_text(options_page(), encoding="utf-8")
    print(PAGE)
    return 0


def options_page() -> str:
    """Return the page, a table for each group of options."""
    lines = [
        "# Options of a training",
        "",
        "Names and meanings are those of kohya's trainer. The defaults are the recipe for very few",
        "pictures. `python -m lib_rimo docs` writes this page from the declarations.",
    ]
    for group, title in GROUPS.items():
        lines += ["", f"## {title}", "", "| option | default | meaning |", "| --- | --- | --- |"]
        for declared in dataclasses.fields(TrainingOptions):
            if declared.metadata["group"] == group:
                lines.append(_row(declared))
    return "\n".join([*lines, ""])


def _row(declared: dataclasses.Field[object]) -> str:
    facts = declared.metadata
    default = declared.default
    if default is dataclasses.MISSING or default is None or default == "":
        shown = "-"
    else:
        shown = f"`{str(default).lower() if option_type(declared)[0] is bool else default}`"
    notes = [facts["help"]]
    if facts["choices"]:
        notes.append("one of " + ", ".join(f"`{choice}`" for choice in facts["choices"]))
    bounds = [("at least", facts["minimum"]), ("at most", facts["maximum"])]
    notes += [f"{word} {value:g}" for word, value in bounds if value is not None]
    if facts["usual"]:
        notes.append(f"usual: {facts['usual']}")
    return f"| `{declared.name}` | {shown} | {'; '.join(notes).replace('|', chr(92) + '|')} |"
