"""Write a LoRA under another program's names: kohya's, PEFT's and diffusers', ComfyUI's.

python -m lib_rimo convert rimochan.safetensors out.safetensors --to peft
"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "write a LoRA file under another program's names"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("source", type=Path, metavar="IN", help="LoRA file under any names")
    parser.add_argument("destination", type=Path, metavar="OUT", help="file to write")
    parser.add_argument(
        "--to",
        required=True,
        choices=("kohya", "peft", "comfyui"),
        help="kohya: every WebUI; peft: PEFT and diffusers; comfyui: as ComfyUI saves them",
    )


def run(arguments: argparse.Namespace) -> int:
    """Convert."""
    from lib_rimo.commands._lora_files import check_destination
    from lib_rimo.inference.apply import load_lora
    from lib_rimo.lora.files import read_lora, write_lora
    from lib_rimo.lora.tools.convert import convert

    check_destination(arguments.destination)
    lora = load_lora(arguments.source)
    converted = convert(read_lora(arguments.source), lora.family, arguments.to)
    write_lora(arguments.destination, converted.tensors, converted.metadata)
    print(f"{arguments.destination}: {len(lora.modules)} layers.")
    return 0
