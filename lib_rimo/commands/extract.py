"""Make a LoRA of what a fine-tuned checkpoint changed in its base model.

    python -m lib_rimo extract base.safetensors tuned.safetensors out.safetensors --dim 32

3x3 convolutions come along with --conv-dim.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lib_rimo.commands._lora_files import add_precision, add_ranks

HELP = "make a LoRA of the difference of two checkpoints"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("original", type=Path, metavar="BASE", help="the base model")
    parser.add_argument("tuned", type=Path, metavar="TUNED", help="the model made of it")
    parser.add_argument("destination", type=Path, metavar="OUT", help="file to write")
    add_ranks(parser, conv_dim_help="rank of 3x3 convolutions (default: none are taken)")
    add_precision(parser, default="fp16")
    parser.add_argument(
        "--min-diff",
        type=float,
        default=0.01,
        metavar="D",
        help="text encoders that differ by less are taken for the same (0.01)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Extract."""
    import torch

    from lib_rimo.commands._lora_files import (
        check_destination,
        layer_progress,
        precision,
        required_rank_limit,
    )
    from lib_rimo.lora.files import write_lora
    from lib_rimo.lora.tools.extract import extract

    check_destination(arguments.destination)
    extracted = extract(
        arguments.original,
        arguments.tuned,
        arguments.destination.stem,
        required_rank_limit(arguments),
        dtype=precision(arguments) or torch.float32,
        min_diff=arguments.min_diff,
        progress=layer_progress(),
    )
    write_lora(arguments.destination, extracted.tensors, extracted.metadata)
    size = arguments.destination.stat().st_size / 2**20
    print(f"{arguments.destination}: dim {extracted.metadata['ss_network_dim']}, {size:.1f} MiB.")
    return 0
