"""Write each picture's mask beside it: white where the character is, black behind.

    python -m lib_rimo mask my_pictures --fetch

1.png gets 1-masklabel.png, which training and `augment` use; look at the masks, mend them in any
paint program. Plain backgrounds are found without a model; for detailed ones it (about 170 MB) is
fetched with --fetch only, once.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lib_rimo.errors import UserError

HELP = "write masks of the character beside pictures"
NEEDS = "tagger"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument(
        "folder", type=Path, nargs="?", metavar="DIR", help="pictures; none: only --fetch"
    )
    parser.add_argument("--fetch", action="store_true", help="fetch the model where it is not here")
    parser.add_argument(
        "--model",
        default="skytnt/anime-seg",
        help="name on Hugging Face, or a folder with isnetis.onnx",
    )
    parser.add_argument("--overwrite", action="store_true", help="write over masks, too")


def run(arguments: argparse.Namespace) -> int:
    """Find masks and write them."""
    from tqdm import tqdm

    from lib_rimo.files import written_beside
    from lib_rimo.training.data.folders import find_folders
    from lib_rimo.training.data.masks import (
        NoMaskError,
        find_mask,
        is_detailed,
        mask_beside,
        mask_file,
    )
    from lib_rimo.training.data.pictures import find_pictures, read_pictures, tell_left_out
    from lib_rimo.training.data.segmentation import MODEL, Segmenter

    is_folder = Path(arguments.model).is_dir()
    folder = MODEL.fetch(arguments.model) if arguments.fetch and not is_folder else None
    if arguments.folder is None:
        if not arguments.fetch:
            raise UserError("Give a folder of pictures, or --fetch.")
        print(folder or arguments.model)
        return 0
    folders = find_folders(arguments.folder)
    files = [file for each in folders for file in find_pictures(each.path)]
    bare = [file for file in files if arguments.overwrite or mask_file(file) is None]
    pictures, left_out = read_pictures(bare)
    for message in tell_left_out(left_out):
        print(message.text())
    segment: Segmenter | None = None
    written = 0
    for picture in tqdm(pictures, desc="mask", unit="picture", delay=0.5):
        path = picture.path
        try:
            if segment is None and is_detailed(picture):
                segment = Segmenter(folder or MODEL.folder(arguments.model))
            mask = find_mask(picture, files=False, segment=segment)
        except NoMaskError as error:
            tqdm.write(f"No mask for {path.name}: it {error}.")
            continue
        if mask.source == "alpha":
            continue  # the picture says it itself
        with written_beside(mask_beside(path)) as beside:
            mask.image.save(beside, format="PNG")
        written += 1
    print(f"{written} masks written; {len(files) - len(bare)} were there already.")
    return 0
