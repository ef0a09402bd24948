"""Write captions of booru tags beside pictures that have none, by a WD14 tagger.

    python -m lib_rimo tag my_pictures --fetch
    python -m lib_rimo tag my_pictures --threshold 0.4

The model (about 380 MB) is fetched with --fetch only, once. Look the captions through: delete the
tags of what the character always has, so that the trigger word takes them over.
"""

from __future__ import annotations

import argparse

from lib_rimo.commands._fetched_model import (
    add_pictures_and_model,
    fetch_where_asked,
    pictures_in,
)
from lib_rimo.errors import UserError

HELP = "write tags beside pictures that have no caption"
NEEDS = "tagger"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    add_pictures_and_model(
        parser, "SmilingWolf/wd-vit-tagger-v3", "model.onnx and selected_tags.csv"
    )
    parser.add_argument(
        "--threshold", type=float, default=0.35, help="least probability of a tag (0.35)"
    )
    parser.add_argument(
        "--character-threshold", type=float, default=0.85, help="of a known character (0.85)"
    )
    parser.add_argument("--trigger", default="", metavar="WORD", help="first tag of each caption")
    parser.add_argument("--overwrite", action="store_true", help="write over captions, too")


def run(arguments: argparse.Namespace) -> int:
    """Tag."""
    from tqdm import tqdm

    from lib_rimo.files import written_beside
    from lib_rimo.training.data.captions import read_caption, with_trigger
    from lib_rimo.training.data.image_files import open_image
    from lib_rimo.training.data.tagger import MODEL, Tagger

    folder = fetch_where_asked(arguments, MODEL)
    if arguments.folder is None:
        print(folder or arguments.model)
        return 0
    pictures = pictures_in(arguments.folder)
    bare = [p for p in pictures if arguments.overwrite or read_caption(p) is None]
    tagger = Tagger(folder or MODEL.folder(arguments.model)) if bare else None
    written = 0
    for picture in tqdm(bare, desc="tag", unit="picture", delay=0.5):
        assert tagger is not None
        try:
            opened = open_image(picture)
        except UserError as error:
            tqdm.write(str(error))
            continue
        caption = tagger.caption(opened, arguments.threshold, arguments.character_threshold)
        with written_beside(picture.with_suffix(".txt")) as beside:
            beside.write_text(with_trigger(caption, arguments.trigger) + "\n", "utf-8")
        written += 1
    print(f"{written} captions written; {len(pictures) - len(bare)} were there already.")
    return 0
