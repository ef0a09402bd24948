"""Give a LoRA other ranks, for a smaller file, as nearly the same as they allow.

    python -m lib_rimo resize rimochan.safetensors small.safetensors --dim 4
    python -m lib_rimo resize rimochan.safetensors small.safetensors --error 0.1

Singular values decide, as in kohya's resize_lora.py. LoHa, LoKr and the like become plain LoRAs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lib_rimo.commands._lora_files import add_base_model, add_precision, add_ranks

HELP = "give a LoRA file other ranks"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("source", type=Path, metavar="IN", help="LoRA file of any type")
    parser.add_argument("destination", type=Path, metavar="OUT", help="file to write")
    add_ranks(parser, conv_dim_help="rank of 3x3 convolutions (default: --dim)")
    add_precision(parser)
    add_base_model(parser)


def run(arguments: argparse.Namespace) -> int:
    """Resize."""
    from lib_rimo.commands._lora_files import (
        base_weights,
        check_destination,
        layer_progress,
        precision,
        required_rank_limit,
    )
    from lib_rimo.inference.apply import load_lora
    from lib_rimo.lora.files import read_lora, write_lora
    from lib_rimo.lora.tools.resize import resize

    check_destination(arguments.destination)
    limit = required_rank_limit(arguments)
    load_lora(arguments.source)  # refuses what cannot be used
    resized = resize(
        read_lora(arguments.source),
        limit,
        dtype=precision(arguments),
        base_of=base_weights(arguments.model),
        progress=layer_progress(),
    )
    write_lora(arguments.destination, resized.file.tensors, resized.file.metadata)
    kept = list(resized.kept.values())
    print(
        f"{arguments.destination}: dim {resized.file.metadata['ss_network_dim']}; of each layer's "
        f"change {min(kept):.1%} to {max(kept):.1%} kept, {sum(kept) / len(kept):.1%} on average."
    )
    return 0
