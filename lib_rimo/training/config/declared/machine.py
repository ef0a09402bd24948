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
    full_bf16: bool = option(
        False, "Keep what is trained in bf16 too: less memory, small steps get lost", "machine"
    )
    gradient_checkpointing: bool = option(False, "Less memory, somewhat slower", "machine")
    cpu_offload_checkpointing: bool = option(
        False, "Keep what gradient_checkpointing keeps in main memory", "machine"
    )
    cache_text_encoder_outputs: bool = option(
        False,
        "Read all captions first and keep the text encoders in main memory; they cannot be trained",
        "machine",
    )
    fp8_base: bool = option(
        False,
        "Store the UNet's frozen weights in 8 bits: half the memory, a little less exact",
        "machine",
    )
    blocks_to_swap: int = option(
        0,
        "So many of the UNet's transformer blocks wait in main memory until they are computed with",
        "machine",
        minimum=0,
        maximum=70,
        usual="SD1 has 16, SDXL 70",
    )
    vae: str = option("", "A file to take the autoencoder from, not the base model's", "machine")
    no_half_vae: bool = option(False, "Encode pictures in fp32", "machine")
    device: str = option(
        "auto", "Where to compute", "machine", choices=("auto", "cpu", "cuda", "mps")
    )
