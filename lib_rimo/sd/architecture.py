"""The arguments of diffusers' UNet and autoencoder, read off the shapes in an LDM single file."""

from collections.abc import Mapping
from typing import Any

from lib_rimo.errors import UserError
from lib_rimo.sd.family import NATIVE_SIDE, UNET_PREFIX, VAE_PREFIX, Family
from lib_rimo.sd.size import LATENT_PIXELS


def count_parts(shapes: Mapping[str, object], prefix: str) -> int:
    """How many numbered parts follow `prefix`: `prefix0.`, `prefix1.`, ..."""
    numbers = {key[len(prefix) :].split(".")[0] for key in shapes if key.startswith(prefix)}
    return len(numbers)


def unet_arguments(
    shapes: Mapping[str, tuple[int, ...]], family: Family, config: Mapping[str, Any]
) -> dict[str, Any]:
    """Arguments of UNet2DConditionModel for an LDM file's shapes.

    `config` is `unet_config.params` of its `.yaml`, for the number of heads alone.
    """
    blocks = f"{UNET_PREFIX}input_blocks."
    last = count_parts(shapes, blocks) - 1
    downsamplers = [n for n in range(1, last) if f"{blocks}{n}.0.op.weight" in shapes]
    layers_per_block = downsamplers[0] - 1
    first_of_level = [1, *(number + 1 for number in downsamplers)]
    depths = [count_parts(shapes, f"{blocks}{n}.1.transformer_blocks.") for n in first_of_level]
    channels = [shapes[f"{blocks}{n}.0.out_layers.3.weight"][0] for n in first_of_level]
    depths_or_middle = [
        depth or count_parts(shapes, f"{UNET_PREFIX}middle_block.1.transformer_blocks.")
        if n == len(depths) - 1
        else depth or 1
        for n, depth in enumerate(depths)
    ]
    middle = f"{UNET_PREFIX}middle_block.1."
    attention = f"{middle}transformer_blocks.0.attn2.to_k.weight"
    arguments: dict[str, Any] = {
        "sample_size": NATIVE_SIDE[family] // LATENT_PIXELS,
        "block_out_channels": tuple(channels),
        "layers_per_block": layers_per_block,
        "down_block_types": tuple(
            "CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths
        ),
        "up_block_types": tuple(
            "CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(depths)
        ),
        "transformer_layers_per_block": tuple(depths_or_middle),
        "cross_attention_dim": shapes[attention][1],
        # diffusers' "attention_head_dim" is, for historical reasons, the number of heads.
        "attention_head_dim": tuple(_heads(config, family, channel) for channel in channels),
        "use_linear_projection": len(shapes[f"{middle}proj_in.weight"]) == 2,
        "upcast_attention": family == "sd2",  # its attention overflows in float16
    }
    if f"{UNET_PREFIX}label_emb.0.0.weight" in shapes:
        arguments |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": shapes[f"{UNET_PREFIX}label_emb.0.0.weight"][
                1
            ],
        }
    return arguments


def _heads(config: Mapping[str, Any], family: Family, channels: int) -> int:
    if config.get("num_head_channels", -1) != -1:
        return int(channels // config["num_head_channels"])
    if config.get("num_heads", -1) != -1:
        return int(config["num_heads"])
    return 8 if family == "sd1" else max(1, channels // 64)


def vae_arguments(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Arguments of AutoencoderKL for an LDM file's shapes."""
    encoder = f"{VAE_PREFIX}encoder."
    if f"{encoder}conv_in.weight" not in shapes:
        raise UserError("The model file holds no VAE; choose a full checkpoint.")
    levels = count_parts(shapes, f"{encoder}down.")
    return {
        "block_out_channels": tuple(
            shapes[f"{encoder}down.{level}.block.0.conv2.weight"][0] for level in range(levels)
        ),
        "layers_per_block": count_parts(shapes, f"{encoder}down.0.block."),
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "latent_channels": shapes[f"{VAE_PREFIX}decoder.conv_in.weight"][1],
    }
