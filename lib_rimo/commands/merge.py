"""Make one LoRA of several, each with its strength and block weights.

    python -m lib_rimo merge both.safetensors "<lora:rimochan:0.8:MIDD>" "<lora:kimono:0.5>"

The plain use of OUT changes a model as the tags together do. Ranks add up; --dim or --error makes
them fewer again.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lib_rimo.commands._lora_files import add_base_model, add_precision, add_ranks

if TYPE_CHECKING:
    from lib_rimo.weights.tags import LoraTag

HELP = "make one LoRA of several, with block weights"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("destination", type=Path, metavar="OUT", help="file to write")
    parser.add_argument(
        "tags", nargs="+", metavar="TAG", help="<lora:NAME:STRENGTH:BLOCKS>, or a file for 1"
    )
    parser.add_argument(
        "--lora-dir", type=Path, default=Path(), metavar="DIR", help="where the tags' LoRAs are (.)"
    )
    add_ranks(parser, conv_dim_help="rank of 3x3 convolutions (default: --dim)")
    add_precision(parser)
    add_base_model(parser)
    parser.add_argument(
        "--presets", type=Path, metavar="DIR", help="folder with more presets (lbwpresets.txt)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Merge."""
    from lib_rimo.commands._lora_files import (
        base_weights,
        check_destination,
        layer_progress,
        precision,
        print_messages_on,
        rank_limit,
        read_weights,
    )
    from lib_rimo.inference.apply import LoraFolder, load_lora
    from lib_rimo.lora.files import read_lora, write_lora
    from lib_rimo.lora.tools.merge import Ingredient, merge
    from lib_rimo.weights.presets import load_presets
    from lib_rimo.weights.tags import LoraTag

    check_destination(arguments.destination)
    presets = load_presets([arguments.presets] if arguments.presets else [])
    folder = LoraFolder(arguments.lora_dir)
    ingredients = []
    for text in arguments.tags:
        is_tag = text.strip().startswith("<")
        tag = read_weights(text, "", presets) if is_tag else LoraTag(Path(text).stem)
        lora = folder.find(tag.name) if is_tag else load_lora(Path(text))
        print_messages_on(tag, lora)
        ingredients.append(
            Ingredient(
                read_lora(lora.path),
                lora.family,
                partial(_strength, tag, lora.family),
                text.strip() if is_tag else f"<lora:{lora.name}:1>",
            )
        )
    merged = merge(
        ingredients,
        arguments.destination.stem,
        rank_limit(arguments),
        dtype=precision(arguments),
        base_of=base_weights(arguments.model),
        progress=layer_progress(),
    )
    write_lora(arguments.destination, merged.tensors, merged.metadata)
    size = arguments.destination.stat().st_size / 2**20
    print(
        f"{arguments.destination}: {len(ingredients)} LoRAs in one, "
        f"dim {merged.metadata['ss_network_dim']}, {size:.1f} MiB."
    )
    return 0


def _strength(tag: LoraTag, family: str, key: str) -> float:
    from lib_rimo.weights.strength import layer_strength

    return layer_strength(tag, key, family)
