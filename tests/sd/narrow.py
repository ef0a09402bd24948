"""Random models in the exact topology of SD1, SD2 and SDXL, narrow enough for a test."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from lib_rimo.sd.checkpoint import SCALING_FACTOR, Checkpoint, ldm_tensors
from lib_rimo.sd.family import Family
from lib_rimo.sd.tokenizer import clip_tokenizer, pad_with_zero
from lib_rimo.training.network.layers import Form
from lib_rimo.training.network.network import Network, Rank

TEXT_WIDTH = {"sd1": (32,), "sd2": (64,), "sdxl": (32, 64)}


def narrow_checkpoint(family: Family, path: Path = Path("narrow.safetensors")) -> Checkpoint:
    torch.manual_seed(0)
    widths = TEXT_WIDTH[family]
    encoders = [_text_encoder(family, n, width) for n, width in enumerate(widths)]
    tokenizers = [clip_tokenizer() for _ in widths]
    if family != "sd1":
        pad_with_zero(tokenizers[-1])
    checkpoint = Checkpoint(
        path=path,
        family=family,
        prediction_type="epsilon",
        zero_terminal_snr=False,
        unet=_unet(family, sum(widths)),
        text_encoders=encoders,
        tokenizers=tokenizers,
        vae=AutoencoderKL(
            block_out_channels=(32, 32, 32, 32),
            layers_per_block=2,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            latent_channels=4,
            scaling_factor=SCALING_FACTOR[family],
        ),
    )
    for module in (checkpoint.unet, *encoders, checkpoint.vae):
        module.requires_grad_(False).eval()
    return checkpoint


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    tensors = {key: tensor.detach().clone() for key, tensor in ldm_tensors(checkpoint).items()}
    save_file(tensors, path, {"format": "pt", **checkpoint.metadata})


def write_narrow_checkpoint(
    path: Path, family: Family, *, heads: int | None = None, v: bool = False
) -> Checkpoint:
    """Write a narrow checkpoint, with a `.yaml` beside it where heads or prediction are told."""
    checkpoint = narrow_checkpoint(family, path)
    save_checkpoint(checkpoint, path)
    if heads is not None or v:
        lines = ["model:", "  params:", f"    parameterization: {'v' if v else 'eps'}"]
        if heads is not None:
            lines += ["    unet_config:", "      params:", f"        num_heads: {heads}"]
        path.with_suffix(".yaml").write_text("\n".join(lines) + "\n")
    return checkpoint


def _unet(family: Family, context: int) -> UNet2DConditionModel:
    common = {"layers_per_block": 2, "cross_attention_dim": context, "sample_size": 8}
    if family == "sdxl":
        return UNet2DConditionModel(
            block_out_channels=(32, 64, 64),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 3),
            attention_head_dim=(1, 1, 1),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=6 * 256 + 64,
            **common,
        )
    return UNet2DConditionModel(
        block_out_channels=(32, 32, 64, 64),
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        attention_head_dim=8 if family == "sd1" else (1, 1, 1, 1),
        use_linear_projection=family == "sd2",
        **common,
    )


def _text_encoder(family: Family, number: int, width: int) -> CLIPTextModel:
    open_clip = family == "sd2" or number == 1
    config = CLIPTextConfig(
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=64,
        num_hidden_layers=3,
        num_attention_heads=max(1, width // 64),
        hidden_act="gelu" if open_clip else "quick_gelu",
        bos_token_id=49406,
        eos_token_id=49407,
        pad_token_id=0 if open_clip else 49407,
    )
    kind = CLIPTextModelWithProjection if number == 1 else CLIPTextModel
    encoder = kind(config)
    for name, parameter in encoder.named_parameters():
        if "layer_norm" in name and name.endswith("bias"):
            # The host divides by the mean of the output: it must not be zero.
            torch.nn.init.normal_(parameter, mean=0.1, std=0.5)
    return encoder


def random_lora(checkpoint: Checkpoint, network_type: str = "lora", *, conv: bool = False):
    """(tensors of a LoRA file, the UNet's output on `unet_inputs` with that LoRA in training)."""
    network = Network(
        checkpoint.family,
        checkpoint.unet,
        checkpoint.text_encoders,
        lambda block: Rank(4, 2.0, 2 if conv else 0, 1.0),
        form=Form(network_type),
    )
    torch.manual_seed(2)
    spread = 0.2 if network_type == "loha" else 0.05  # LoHa is a product of four, not of two
    for parameter in network.adapters.parameters():
        torch.nn.init.normal_(parameter, mean=0.02, std=spread)
    with torch.no_grad():
        output = unet_output(checkpoint)
    tensors = network.tensors()
    network.detach()
    return tensors, output


def unet_output(checkpoint: Checkpoint) -> torch.Tensor:
    """The noise predicted for a fixed random latent of 16 x 16.

    A smaller latent would shrink to one pixel at the bottom, where the normalisation of two values
    a group turns rounding errors into differences of a thousandth.
    """
    generator = torch.Generator().manual_seed(3)
    width = checkpoint.unet.config.cross_attention_dim
    added = None
    if checkpoint.family == "sdxl":
        added = {
            "text_embeds": torch.randn(2, 64, generator=generator),
            "time_ids": torch.rand(2, 6, generator=generator) * 64,
        }
    with torch.no_grad():
        return checkpoint.unet(
            torch.randn(2, 4, 16, 16, generator=generator),
            500,
            encoder_hidden_states=torch.randn(2, 77, width, generator=generator),
            added_cond_kwargs=added,
        ).sample


def text_output(checkpoint: Checkpoint) -> torch.Tensor:
    tokens = checkpoint.tokenizers[0]("a girl outdoors", return_tensors="pt").input_ids
    with torch.no_grad():
        states = [encoder(tokens).last_hidden_state for encoder in checkpoint.text_encoders]
    return torch.cat(states, dim=-1)
