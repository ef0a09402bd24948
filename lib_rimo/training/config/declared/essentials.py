"""What to train, on which pictures, under which name."""

from __future__ import annotations

from dataclasses import dataclass

from lib_rimo.training.config.declaration import option


@dataclass
class Essentials:
    """The options of the group `essentials`."""

    pretrained_model_name_or_path: str = option(
        "", "The base model: an LDM .safetensors of SD1, SD2 or SDXL", "essentials"
    )
    train_data_dir: str = option(
        "", "Folder of pictures with captions, plain or with kohya's 10_name folders", "essentials"
    )
    output_name: str = option("rimo", "The LoRA's name, as in <lora:NAME:1>", "essentials")
    output_dir: str = option("output", "Folder for the LoRA, its samples and state", "essentials")
    trigger_word: str = option(
        "",
        "Word put in front of every caption that does not have it; also first in order",
        "essentials",
    )
    resolution: str = option(
        "",
        "Width,height of the training pictures; empty: what the base model was made for",
        "essentials",
        usual="512 (SD1), 768 (SD2), 1024 (SDXL)",
    )
