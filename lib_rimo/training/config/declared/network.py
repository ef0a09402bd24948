"""What is trained: its form, its rank, block by block."""

from __future__ import annotations

from dataclasses import dataclass

from lib_rimo.training.config.declaration import option

NETWORK_TYPES = ("lora", "loha", "lokr", "dora", "ia3", "full", "glora", "diag-oft", "boft")
ACTS_IN = {
    "tlora_min_rank": ("lora",),
    "use_scalar": ("lora", "loha", "lokr", "dora", "glora"),
    "use_tucker": ("loha", "lokr", "dora"),
    "rank_dropout_scale": ("loha", "lokr", "dora", "glora", "full"),
    "dora_wd": ("loha", "lokr"),
    "rs_lora": ("lora", "loha", "lokr", "dora", "glora"),
    "constraint": ("diag-oft", "boft"),
    "rescaled": ("diag-oft", "boft"),
    "scale_weight_norms": ("lora", "loha", "lokr", "dora"),
    "conv_dim": ("lora", "loha", "lokr", "dora", "full", "glora", "diag-oft", "boft"),
}
"""Options that mean something in some types only."""


@dataclass
class NetworkShape:
    """The options of the group `network`."""

    network_type: str = option(
        "lora",
        "lora (with conv_dim: LoCon), or one of LyCORIS'; of diag-oft and boft the rank is the "
        "size of a block",
        "network",
        choices=NETWORK_TYPES,
    )
    network_dim: int = option(
        10,
        "Rank of each layer's change; small ones overfit less",
        "network",
        minimum=1,
        maximum=100_000_000,
        usual="4 – 32",
    )
    network_alpha: float = option(
        2.0,
        "Scale: changes count alpha / dim; small ones overfit less; 0 stands for dim",
        "network",
        minimum=0,
        maximum=100_000_000,
        usual="1 – dim",
    )
    conv_dim: int | None = option(
        None,
        "Rank for 3x3 convolutions too (LoCon); 0: none",
        "network",
        minimum=0,
        maximum=100_000_000,
    )
    conv_alpha: float | None = option(
        None,
        "Alpha of the 3x3 convolutions; empty: 1; 0 stands for conv_dim",
        "network",
        minimum=0,
        maximum=100_000_000,
    )
    network_dropout: float = option(
        0.0,
        "Share of each layer's inner values dropped while training",
        "network",
        minimum=0,
        maximum=0.99,
    )
    rank_dropout: float = option(
        0.0,
        "Share of each layer's ranks dropped while training",
        "network",
        minimum=0,
        maximum=0.99,
    )
    module_dropout: float = option(
        0.0,
        "Share of layers whose change is dropped while training",
        "network",
        minimum=0,
        maximum=0.99,
    )
    tlora_min_rank: int | None = option(
        None,
        "T-LoRA: ranks that learn from pure noise too; the rest learn from less; empty: all from "
        "all",
        "network",
        minimum=0,
        maximum=1024,
        usual="half of network_dim",
    )
    tlora_alpha_rank_scale: float = option(
        1.0,
        "T-LoRA: above 1 the ranks are fewer at middling noise, below 1 more",
        "network",
        minimum=0.01,
        maximum=10,
    )
    scale_weight_norms: float = option(
        0.0,
        "Longest change of a layer; longer ones are shortened after each step; 0: never",
        "network",
        minimum=0,
        usual="1",
    )
    loraplus_lr_ratio: float = option(
        0.0,
        "LoRA+: how many times faster a LoRA's second matrix learns; 0: alike",
        "network",
        minimum=0,
        usual="4 – 16",
    )
    loraplus_unet_lr_ratio: float = option(0.0, "The same in the UNet only", "network", minimum=0)
    loraplus_text_encoder_lr_ratio: float = option(
        0.0, "The same in the text encoder only", "network", minimum=0
    )
    factor: int = option(
        -1, "LoKr: largest size of the first factor; -1: as even as possible", "network", minimum=-1
    )
    decompose_both: bool = option(False, "LoKr: make the first factor low-rank too", "network")
    use_tucker: bool = option(
        False, "LoHa, LoKr, DoRA: a core for the 3x3 convolutions (Tucker)", "network"
    )
    use_scalar: bool = option(
        False, "LyCORIS: both matrices start at random, times a number that starts at 0", "network"
    )
    rank_dropout_scale: bool = option(
        False, "LyCORIS: ranks that rank_dropout leaves count as much more", "network"
    )
    dora_wd: bool = option(False, "LoHa, LoKr: learn lengths apart from directions", "network")
    rs_lora: bool = option(
        False, "Changes count alpha / √dim, so that large ranks are not held back", "network"
    )
    constraint: float = option(
        0.0, "Diag-OFT, BOFT: how far the blocks may be turned; 0: any", "network", minimum=0
    )
    rescaled: bool = option(False, "Diag-OFT, BOFT: learn the outputs' sizes too", "network")
    train_norm: bool = option(False, "Train the UNet's norms too", "network")
    network_weights: str = option("", "A LoRA to go on from", "network")
    block_dims: str = option(
        "",
        "Rank block by block: 12, 17, 20 or 26 numbers, as at inference; 0 leaves a block out",
        "network",
    )
    block_alphas: str = option("", "Alpha block by block, as many numbers", "network")
    block_lr_weight: str = option(
        "", "Factor on the learning rate block by block, as many numbers", "network"
    )
