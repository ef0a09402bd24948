"""Speed and memory."""

from __future__ import annotations

from dataclasses import dataclass

from lib_rimo.training.config.declaration import option


@dataclass
class MachineOptions:
    """The options of the group `machine`."""

    mixed_precision: str = option(
        "auto",
        "Precision of the computation; auto: bf16 or fp16 on a GPU, fp32 on a CPU",
        "machine",
        choices=("auto", "no", "fp16", "bf16"),
    )
    gradient_checkpointing: bool = option(False, "Less memory, somewhat slower", "machine")
    vae: str = option("", "A file to take the autoencoder from, not the base model's", "machine")
    no_half_vae: bool = option(False, "Encode pictures in fp32", "machine")
    device: str = option(
        "auto", "Where to compute", "machine", choices=("auto", "cpu", "cuda", "mps")
    )
