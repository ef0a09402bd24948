"""What a LoRA takes with each family of base models, memory and time, by the estimate.

python -m benchmarks.families

No model is needed: the layers are those of the families' usual configurations, without weights.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel

from lib_rimo.messages import Message
from lib_rimo.sd import ldm_layout
from lib_rimo.training.config.options import TrainingOptions
from lib_rimo.training.jobs.estimate import STEP_OVERHEAD, memory_of, read_model, work_of_step
from lib_rimo.training.jobs.machine import Machine

Shapes = Mapping[str, tuple[int, ...]]
_AUTOENCODER = {  # 84 million values
    "first_stage_model.encoder.conv_in.weight": (128, 3, 3, 3),
    "first_stage_model.decoder.weight": (653_515, 128),
}
FAMILIES: dict[str, tuple[dict[str, Any], Shapes, str]] = {
    "SD1.5": (
        {"cross_attention_dim": 768},
        {
            "cond_stage_model.transformer.text_model.final_layer_norm.weight": (768,),
            "cond_stage_model.transformer.text_model.encoder.weight": (160_235, 768),
        },
        "512,768",
    ),
    "SD2.1": (
        {
            "cross_attention_dim": 1024,
            "attention_head_dim": [5, 10, 20, 20],
            "use_linear_projection": True,
        },
        {
            "cond_stage_model.model.ln_final.weight": (1024,),
            "cond_stage_model.model.transformer.weight": (332_000, 1024),
        },
        "768,768",
    ),
    "SDXL, Illustrious, NoobAI": (
        {
            "block_out_channels": (320, 640, 1280),
            "down_block_types": (
                "DownBlock2D",
                "CrossAttnDownBlock2D",
                "CrossAttnDownBlock2D",
            ),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 2, 10),
            "attention_head_dim": [5, 10, 20],
            "cross_attention_dim": 2048,
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
        {
            "conditioner.embedders.0.transformer.text_model.encoder.weight": (160_235, 768),
            "conditioner.embedders.1.model.ln_final.weight": (1280,),
            "conditioner.embedders.1.model.transformer.weight": (542_702, 1280),
        },
        "832,1216",
    ),
}
RECIPE: dict[str, Any] = {"network_dim": 10, "network_alpha": 2.0, "mixed_precision": "bf16"}
WAYS: dict[str, dict[str, Any]] = {
    "the recipe, batch size 2": {"train_batch_size": 2},
    "batch size 1": {"train_batch_size": 1},
    "and gradient_checkpointing": {"train_batch_size": 1, "gradient_checkpointing": True},
    "and text_encoder_lr 0, fp8_base, cache_text_encoder_outputs": {
        "train_batch_size": 1,
        "gradient_checkpointing": True,
        "text_encoder_lr": 0.0,
        "fp8_base": True,
        "cache_text_encoder_outputs": True,
    },
}
CARDS = {"RTX 3060": 28, "RTX 4090": 128}
"""Their multiprocessors, of which a speed is guessed as `this_machine` does it."""


def header_file(arguments: Mapping[str, Any], rest: Shapes, folder: Path) -> Path:
    """A file with the tensors' shapes and nothing else."""
    with torch.device("meta"):
        state = UNet2DConditionModel(**arguments).state_dict()
    shapes = ldm_layout.to_ldm(state, ldm_layout.unet_layout(state))
    entries = {key: list(tensor.shape) for key, tensor in shapes.items()}
    entries |= {key: list(shape) for key, shape in {**rest, **_AUTOENCODER}.items()}
    header = {
        key: {"dtype": "F16", "shape": shape, "data_offsets": [0, 0]}
        for key, shape in entries.items()
    }
    text = json.dumps(header).encode()
    path = folder / "model.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    return path


def main() -> None:
    """Print the table."""
    print(f"| | | GB | {' | '.join(f'{card}, 1000 steps' for card in CARDS)} |")
    print("| --- " * (3 + len(CARDS)) + "|")
    for family, (arguments, rest, resolution) in FAMILIES.items():
        with tempfile.TemporaryDirectory() as folder:
            path = header_file(arguments, rest, Path(folder))
            for way, changes in WAYS.items():
                options = dataclasses.replace(
                    TrainingOptions(pretrained_model_name_or_path=str(path), resolution=resolution),
                    **{**RECIPE, **changes},
                )
                model = read_model(path, resolution)
                minutes = []
                for card, multiprocessors in CARDS.items():
                    speed = multiprocessors * 1024 * 1.5e9 / 3
                    machine = Machine("cuda", Message(card), 24e9, speed)
                    step = 2 * work_of_step(model, options) / speed + STEP_OVERHEAD["cuda"]
                    minutes.append(f"{1000 * step / 60:.0f} min")
                need = memory_of(model, options, machine) / 1e9
                print(f"| {family}, {resolution} | {way} | {need:.1f} | {' | '.join(minutes)} |")


if __name__ == "__main__":
    main()
