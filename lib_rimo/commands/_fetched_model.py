"""What the verbs share that look at pictures with a model fetched on request only."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lib_rimo.errors import UserError

if TYPE_CHECKING:
    from lib_rimo.training.data.onnx_models import OnnxModel


def add_pictures_and_model(parser: argparse.ArgumentParser, model: str, files: str) -> None:
    """Declare the pictures and the model: its name on Hugging Face, and what makes it whole."""
    parser.add_argument(
        "folder", type=Path, nargs="?", metavar="DIR", help="pictures; none: only --fetch"
    )
    parser.add_argument("--fetch", action="store_true", help="fetch the model where it is not here")
    parser.add_argument(
        "--model", default=model, help=f"name on Hugging Face, or a folder with {files}"
    )


def fetch_where_asked(arguments: argparse.Namespace, model: OnnxModel) -> Path | None:
    """The folder of a model that was just fetched; None where that was not asked for.

    Raises UserError where there is nothing to do.
    """
    if arguments.folder is None and not arguments.fetch:
        raise UserError("Give a folder of pictures, or --fetch.")
    if not arguments.fetch or Path(arguments.model).is_dir():
        return None
    return model.fetch(arguments.model)


def pictures_in(folder: Path) -> list[Path]:
    """The picture files of a folder, or of those inside it."""
    from lib_rimo.training.data.folders import find_folders
    from lib_rimo.training.data.pictures import find_pictures

    return [file for each in find_folders(folder) for file in find_pictures(each.path)]
