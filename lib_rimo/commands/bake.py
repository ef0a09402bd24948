"""Write block weights into a LoRA file, for programs that know no block weights.

    python -m lib_rimo bake rimochan.safetensors IN07@0.8,IN08@0.2 out.safetensors

The plain use of OUT changes a model exactly as the weighted use of IN does. The weights are numbers
for 12, 17, 20 or 26 blocks, a preset (MIDD), the blocks that differ (IN07@0.8,IN08@0.2), or a whole
tag (<lora:rimochan:0.8:MIDD>), whose strengths are written in as well. Layers with 0 are left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lib_rimo.errors import UserError

HELP = "write block weights into a LoRA file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("source", type=Path, metavar="IN", help="LoRA file of any type")
    parser.add_argument("weights", metavar="VECTOR", help="block weights, or a whole tag")
    parser.add_argument("destination", type=Path, metavar="OUT", help="file to write")
    parser.add_argument(
        "--model", type=Path, metavar="FILE", help="the base model; only DoRA needs it"
    )
    parser.add_argument(
        "--presets", type=Path, metavar="DIR", help="folder with more presets (lbwpresets.txt)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Bake."""
    from lib_rimo.commands._lora_files import (
        base_weights,
        check_destination,
        print_messages_on,
        read_weights,
    )
    from lib_rimo.inference.apply import load_lora
    from lib_rimo.lora.bake import bake
    from lib_rimo.lora.delta import split_modules
    from lib_rimo.lora.files import read_lora, write_lora
    from lib_rimo.weights.presets import load_presets
    from lib_rimo.weights.strength import layer_strength

    check_destination(arguments.destination)
    presets = load_presets([arguments.presets] if arguments.presets else [])
    tag = read_weights(arguments.weights, arguments.source.stem, presets)
    lora = load_lora(arguments.source)
    if not lora.is_for_stable_diffusion and tag.blocks is not None:
        raise UserError(f"{lora.name} was made for {lora.family}, which has no such blocks.")
    print_messages_on(tag, lora)
    baked = bake(
        read_lora(arguments.source),
        lambda key: layer_strength(tag, key, lora.family),
        arguments.weights,
        base_weights(arguments.model),
    )
    write_lora(arguments.destination, baked.tensors, baked.metadata)
    kept = len(split_modules(baked.tensors))
    print(f"{arguments.destination}: {kept} of {len(lora.modules)} layers, weights written in.")
    return 0
