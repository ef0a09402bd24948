"""Make twenty training pictures from five: whole, upper body, face, each also mirrored.

    python -m lib_rimo augment my_pictures my_training_set --count 20 --resolution 448,704

Captions beside the pictures (1.png, 1.txt) follow the crops: a crop says "upper body" or "close-up"
and loses the tags of what left the frame. Look at contact_sheet.png in the result, delete what you
do not like, and give the folder to `train`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lib_rimo.messages import Message, write_messages

HELP = "make many training pictures from a few, with captions that follow"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("source", type=Path, metavar="SRC", help="folder of pictures and captions")
    parser.add_argument("destination", type=Path, metavar="DST", help="folder to make")
    parser.add_argument("--count", type=int, default=20, help="pictures to make (20)")
    parser.add_argument(
        "--resolution", default="", help='width and height of each (the model\'s, or "448,704")'
    )
    parser.add_argument(
        "--model",
        type=Path,
        metavar="FILE",
        help="the base model that will be trained on: decides how large the pictures are, and is "
        "remembered in the folder",
    )
    parser.add_argument("--seed", type=int, default=1, help="another seed, other pictures (1)")
    parser.add_argument(
        "--no-mirror",
        action="store_true",
        help="mirror nothing: for a character that is not the same on both sides",
    )
    parser.add_argument("--name", default="", help="name of the inner folder 1_NAME (SRC's name)")
    parser.add_argument(
        "--out-of-frame",
        default="",
        metavar="FILE|WORDS",
        help='more tags that crops lose: a text file, or words such as "sword; close-up: bag"',
    )
    parser.add_argument(
        "--scenes",
        type=int,
        default=0,
        metavar="N",
        help="cut the character out and put it into N places that --model draws, named by half of "
        "the captions (0: as it stands)",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="make DST anew even where its pictures or captions were changed since",
    )
    parser.add_argument(
        "--caption-extension", default="", help="ending of the caption files (.txt, then .caption)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Plan and write the pictures, and say what came out."""
    from lib_rimo.commands._progress import Progress
    from lib_rimo.training.augment.augmentation import augment
    from lib_rimo.training.augment.framing import read_out_of_frame
    from lib_rimo.training.data.folders import CONTACT_SHEET

    summary = augment(
        arguments.source,
        arguments.destination,
        count=arguments.count,
        resolution=arguments.resolution,
        base=arguments.model,
        seed=arguments.seed,
        mirror=not arguments.no_mirror,
        name=arguments.name,
        out_of_frame=read_out_of_frame(arguments.out_of_frame),
        caption_extension=arguments.caption_extension,
        scenes=arguments.scenes,
        overwrite=arguments.overwrite,
        drawing=Progress(Message("Places drawn")),
        progress=Progress(Message("Pictures made")),
    )
    write_messages(summary.messages(), sys.stdout)
    print(summary.folder / CONTACT_SHEET)
    return 0
