"""How the reader of job files takes a folder of other people's files.

    python -m lib_rimo.training.config.survey FOLDER ...

prints a line for each TOML and JSON file, what it was taken for, and a count of each outcome.
Nothing is trained, and no folder that a file names is looked into.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from lib_rimo.errors import UserError
from lib_rimo.messages import Message
from lib_rimo.training.config.dataset_config import read_dataset_config
from lib_rimo.training.config.documents import read_mapping
from lib_rimo.training.config.job_file import from_mapping
from lib_rimo.training.config.options import check_values

TAKEN, WARNED, REFUSED = "taken", "taken, with warnings", "refused"


def outcome(path: Path) -> tuple[str, list[Message]]:
    """What becomes of a file, and what is told: warnings, or why it is refused."""
    try:
        content = read_mapping(path)
        if "datasets" in content and not content.keys() - {"datasets", "general"}:
            messages = read_dataset_config(path).messages
        else:
            # What a file names is not here: its dataset_config is not opened.
            if not str(content.get("dataset_config", "")).startswith("{"):
                content.pop("dataset_config", None)
            options, messages = from_mapping(content)
            check_values(options)
    except UserError as error:
        return REFUSED, list(error.messages)
    return (WARNED if messages else TAKEN), messages


def files_of(folders: list[Path]) -> Iterator[Path]:
    """Every TOML and JSON file in the folders and in folders in them."""
    for folder in folders:
        found = folder.rglob("*") if folder.is_dir() else [folder]
        yield from sorted(path for path in found if path.suffix.lower() in (".toml", ".json"))


def main(folders: list[Path]) -> int:
    """Print the outcomes."""
    counts: Counter[str] = Counter()
    for path in files_of(folders):
        what, messages = outcome(path)
        counts[what] += 1
        print(f"{path.name}: {what}")
        for message in messages:
            print(f"    {message}")
    for what in (TAKEN, WARNED, REFUSED):
        print(f"{counts[what]:5} {what}")
    return 0


if __name__ == "__main__":
    sys.exit(main([Path(argument) for argument in sys.argv[1:]]))
