"""Change what a WebUI's card shows of a LoRA: title, trigger word, description, picture.

    python -m lib_rimo edit rimochan.safetensors --trigger "rimochan, 1girl" --cover best.png

The file itself is changed, or OUT is written; its weights stay. The trigger word and the
description stand in a .json beside it too, where WebUIs look for them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lib_rimo.errors import UserError

HELP = "change a LoRA's title, trigger word and picture"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("file", type=Path, metavar="FILE", help="LoRA file")
    parser.add_argument("--title", help='its name in prompts beside the file\'s; "" removes it')
    parser.add_argument("--trigger", help='word that triggers the character; "" removes it')
    parser.add_argument("--description", help='a text for the card; "" removes it')
    parser.add_argument("--cover", type=Path, metavar="PICTURE", help="PNG, JPEG or WebP")
    parser.add_argument("--out", type=Path, metavar="OUT", help="write this file instead")


def run(arguments: argparse.Namespace) -> int:
    """Edit."""
    from lib_rimo.commands._lora_files import check_destination
    from lib_rimo.lora.tools.card import Card, write_card
    from lib_rimo.training.data.image_files import open_image

    cover = open_image(arguments.cover).convert("RGB") if arguments.cover is not None else None
    card = Card(arguments.title, arguments.trigger, arguments.description, cover)
    if card.is_empty:
        raise UserError("Say what to change: --title, --trigger, --description or --cover.")
    if arguments.out is not None:
        check_destination(arguments.out)
    print(f"{write_card(arguments.file, card, arguments.out)}: changed.")
    return 0
