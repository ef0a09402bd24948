"""Tell what a LoRA file is: family, type, ranks, how much it changes in each block, its training.

python -m lib_rimo info rimochan.safetensors
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lib_rimo.errors import UserError
from lib_rimo.sd.family import FAMILY_NAMES
from lib_rimo.text import printable, visible

if TYPE_CHECKING:
    from lib_rimo.inference.apply import Lora
    from lib_rimo.lora.description import Description

HELP = "tell what a LoRA file is, block by block"

_BAR = 40
_TRAINING = {
    "ss_output_name": "name",
    "ss_sd_model_name": "base model",
    "ss_base_model_version": "base model version",
    "ss_network_module": "network module",
    "ss_network_dim": "network dim",
    "ss_network_alpha": "network alpha",
    "ss_num_train_images": "training pictures",
    "ss_steps": "steps",
    "ss_max_train_steps": "steps at most",
    "ss_epoch": "epochs",
    "ss_batch_size_per_device": "batch size",
    "ss_optimizer": "optimizer",
    "ss_unet_lr": "UNet learning rate",
    "ss_text_encoder_lr": "text encoder learning rate",
    "ss_lr_scheduler": "scheduler",
    "ss_clip_skip": "clip skip",
    "ss_resolution": "resolution",
    "ss_seed": "seed",
    "sshs_model_hash": "hash",
    "rimo_baked_weights": "baked weights",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("file", type=Path, metavar="FILE", help="LoRA file")
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    parser.add_argument("--tags", type=int, default=20, metavar="N", help="most frequent tags (20)")


def run(arguments: argparse.Namespace) -> int:
    """Print."""
    from lib_rimo.inference.apply import load_lora
    from lib_rimo.lora.description import describe, tag_frequency

    lora = load_lora(arguments.file)
    try:
        description = describe(lora.modules, lora.metadata)
    except UserError as error:
        raise UserError(f"{lora.path.name} cannot be used: {error}") from error
    tags = tag_frequency(lora.metadata)
    if arguments.json:
        content = vars(description) | {"tags": tags, "embeddings": lora.embeddings}
        content["metadata"] = dict(lora.metadata)
        print(json.dumps(content, ensure_ascii=False, indent=2))
        return 0
    print("\n".join(_lines(arguments.file, description, lora)))
    if tags:
        print("\nmost frequent tags (pictures)")
        shown = list(tags.items())[: arguments.tags]
        print("  " + ", ".join(f"{visible(tag)} ({count})" for tag, count in shown))
    return 0


def _lines(path: Path, description: Description, lora: Lora) -> list[str]:
    size = path.stat().st_size / 2**20
    family = FAMILY_NAMES.get(description.family, description.family)
    kind = f"{family} {description.network_type}"
    lines = [f"{path.name}: {kind}, {description.layers} layers, {size:.1f} MiB"]
    if description.dims:
        lines.append(f"dim {_counted(description.dims)}; alpha {_counted(description.alphas)}")
    if description.family not in FAMILY_NAMES:
        lines.append("This is not for Stable Diffusion: nothing here can draw with it.")
    if lora.embeddings:
        lines.append(
            f"embeddings beside the LoRA, which are not used here: {', '.join(lora.embeddings)}"
        )
    largest = max(description.norms.values(), default=0.0) or 1.0
    lines += ["", "how much each block changes (Frobenius norm)"]
    for block, norm in description.norms.items():
        lines.append(f"  {block:5} {norm:9.4f} {'█' * round(_BAR * norm / largest)}".rstrip())
    training = {
        name: printable(lora.metadata[key], 2000)
        for key, name in _TRAINING.items()
        if lora.metadata.get(key, "None") != "None"  # as kohya's trainer writes what was not set
    }
    if training:
        widest = max(map(len, training))
        lines += ["", "training", *(f"  {name:{widest}}  {v}" for name, v in training.items())]
    return lines


def _counted(counts: Mapping[int, int] | Mapping[float, int]) -> str:
    if len(counts) == 1:
        return f"{next(iter(counts)):g}"
    return ", ".join(f"{value:g} ({layers} layers)" for value, layers in counts.items())
