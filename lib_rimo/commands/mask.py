"""Write each picture's mask beside it: white where the character is, black behind.

    python -m lib_rimo mask my_pictures --fetch

1.png gets 1-masklabel.png, which training and `augment` use; look at the masks, mend them in any
paint program. Plain backgrounds are found without a model; for detailed ones it (about 170 MB) is
fetched with --fetch only, once.
"""

from __future__ import annotations

import argparse
import sys
from functools import cache

from lib_rimo.commands._fetched_model import (
    add_pictures_and_model,
    fetch_where_asked,
    pictures_in,
)
from lib_rimo.messages import Message, write_messages

HELP = "write masks of the character beside pictures"
NEEDS = "tagger"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    add_pictures_and_model(parser, "skytnt/anime-seg", "isnetis.onnx")
    parser.add_argument("--overwrite", action="store_true", help="write over masks, too")


def run(arguments: argparse.Namespace) -> int:
    """Find masks and write them."""
    from lib_rimo.commands._progress import Progress
    from lib_rimo.files import written_beside
    from lib_rimo.training.data.masks import NoMaskError, find_mask, mask_beside, mask_file
    from lib_rimo.training.data.pictures import read_pictures, tell_left_out
    from lib_rimo.training.data.segmentation import MODEL, Segmenter

    folder = fetch_where_asked(arguments, MODEL)
    if arguments.folder is None:
        print(folder or arguments.model)
        return 0
    files = pictures_in(arguments.folder)
    bare = [file for file in files if arguments.overwrite or mask_file(file) is None]
    pictures, left_out = read_pictures(bare)
    told = list(tell_left_out(left_out))

    @cache
    def segmenter() -> Segmenter:
        return Segmenter(folder or MODEL.folder(arguments.model))

    progress = Progress(Message("Pictures looked at"))
    written = 0
    for number, picture in enumerate(pictures):
        progress(number, len(pictures))
        path = picture.path
        try:
            mask = find_mask(picture, files=False, segment=lambda image: segmenter()(image))
        except NoMaskError as error:
            none = "No mask for {file}, so all of it counts: it {reason}."
            told.append(Message(none, level="warning", file=path.name, reason=error.reason))
            continue
        if mask.source == "alpha":
            continue  # the picture says it itself
        with written_beside(mask_beside(path)) as beside:
            mask.image.save(beside, format="PNG")
        written += 1
    progress(len(pictures), len(pictures))
    done = "Masks written: {n}; there already: {present}."
    told.append(Message(done, level="note", n=written, present=len(files) - len(bare)))
    write_messages(told, sys.stdout)
    return 0
