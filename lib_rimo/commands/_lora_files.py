"""What the verbs that make LoRA files of others share: their options, and how they read them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lib_rimo.commands._progress import Progress
from lib_rimo.errors import UserError
from lib_rimo.messages import Message

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lib_rimo.inference.apply import Lora
    from lib_rimo.lora.tools.factors import RankLimit
    from lib_rimo.weights.presets import Presets
    from lib_rimo.weights.tags import LoraTag


def add_ranks(parser: argparse.ArgumentParser, *, conv_dim_help: str) -> None:
    """Declare how many ranks are kept."""
    parser.add_argument("--dim", type=int, metavar="N", help="rank (dim) of the result, at most")
    parser.add_argument("--conv-dim", type=int, metavar="N", help=conv_dim_help)
    parser.add_argument(
        "--error",
        type=float,
        metavar="E",
        help="largest share of each layer's change that may be lost (0.1); as many ranks as it "
        "takes",
    )


def add_precision(parser: argparse.ArgumentParser, *, default: str | None = None) -> None:
    """Declare the numbers' type in the file."""
    parser.add_argument(
        "--precision",
        choices=("float", "fp16", "bf16"),
        default=default,
        help=f"of the numbers in the file ({default or 'as in the source'})",
    )


def add_base_model(parser: argparse.ArgumentParser) -> None:
    """Declare the model that some forms change each in its own way."""
    parser.add_argument(
        "--model", type=Path, metavar="FILE", help="the base model; DoRA, IA3, OFT, GLoRA need it"
    )


def rank_limit(arguments: argparse.Namespace) -> RankLimit | None:
    """The ranks that the options ask for, None where none of them is given. Raises UserError."""
    from lib_rimo.lora.tools.factors import RankLimit

    for name in ("dim", "conv_dim"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise UserError(
                "{option} is {value}: a rank is 1 or more.",
                option=f"--{name.replace('_', '-')}",
                value=value,
            )
    if arguments.error is not None and not 0 <= arguments.error < 1:
        raise UserError(
            "--error is {value}: give the share that may be lost, 0.1 for a tenth.",
            value=arguments.error,
        )
    if arguments.dim is None and arguments.error is None:
        if arguments.conv_dim is not None:
            raise UserError("--conv-dim goes with --dim or --error: give one of them.")
        return None
    return RankLimit(arguments.dim, arguments.conv_dim, arguments.error)


def required_rank_limit(arguments: argparse.Namespace) -> RankLimit:
    """The ranks that the options ask for. Raises UserError where none of them is given."""
    limit = rank_limit(arguments)
    if limit is None:
        raise UserError("Say how many ranks are kept: --dim 8, or --error 0.1.")
    return limit


def precision(arguments: argparse.Namespace) -> torch.dtype | None:
    """The type of the numbers to write, None for that of the source."""
    import torch

    types = {"float": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    return types.get(arguments.precision)


def base_weights(model: Path | None) -> Callable[[str], Tensor | None]:
    """Gives the base model's weight of a layer by its key, None where no model was given."""
    from lib_rimo.inference.apply import LoraMerger
    from lib_rimo.sd.checkpoint import load_checkpoint

    if model is None:
        return lambda key: None
    return LoraMerger(load_checkpoint(model)).base_weight


def layer_progress() -> Callable[[int, int], None]:
    """Is told the layer that is done, from 0 on, of how many, and shows it with the time left."""
    progress = Progress(Message("Layers done"), "layer")
    return lambda layer, total: progress(layer + 1, total)


def check_destination(path: Path) -> None:
    """Refuse a name that no WebUI would find, before anything is computed. Raises UserError."""
    if path.suffix != ".safetensors":
        raise UserError("{file} has to end with .safetensors.", file=path)


def print_messages_on(tag: LoraTag, lora: Lora) -> None:
    """Say which of a tag's block weights do nothing for this LoRA."""
    if tag.blocks is not None:
        for message in tag.blocks.messages_on(lora.blocks, lora.family, lora.name):
            print(message)


def read_weights(text: str, name: str, presets: Presets) -> LoraTag:
    """Block weights or a whole tag, as a tag. Raises UserError for what cannot stand in a file."""
    from lib_rimo.weights.grammar import parse_blocks
    from lib_rimo.weights.tags import LoraTag, parse_prompt

    text = text.strip()
    if text.startswith("<"):
        _, tags, messages = parse_prompt(text, presets)
        if len(tags) != 1:
            one = Message('"{text}" is not one tag, <lora:NAME:1:...>.', text=text)
            raise UserError(*(messages or [one]))
        tag = tags[0]
    else:
        tag = LoraTag(name, blocks=parse_blocks(text, presets))
    if tag.dyn is not None:
        raise UserError("dyn cannot be written into a file: leave it out.")
    if tag.blocks is not None and tag.blocks.is_random:
        raise UserError("Random weights (R, U) cannot be written into a file: write numbers.")
    if tag.has_steps:
        raise UserError(
            "Steps cannot be written into a file: leave start, stop, step and strengths that "
            "change over the steps out."
        )
    return tag
