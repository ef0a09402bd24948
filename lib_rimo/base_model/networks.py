"""The base model's networks: SD1.5's or SDXL's architecture to the letter, in narrow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from lib_rimo.base_model.autoencoder import scaled
from lib_rimo.inference.prompt import Conditioning
from lib_rimo.sd.checkpoint import SCALING_FACTOR, Checkpoint
from lib_rimo.sd.embedded import MODELS
from lib_rimo.sd.family import Family
from lib_rimo.sd.size import LATENT_PIXELS
from lib_rimo.sd.text_encoders import CLIP_END, CLIP_VOCABULARY, TEXT_ENCODERS, TextEncoder
from lib_rimo.sd.text_encoding import encode_tokens
from lib_rimo.sd.tokenizer import clip_tokenizer, pad_with_zero

# 64 and not 32 at the top: the layout's normalisation has 32 groups, and with groups of one channel
# the last one before the output leaves the network no way to say how bright the whole noise is.
CHANNELS = (64, 128, 128, 128)
HEADS = 2  # of the UNet; more would only be slower at this width
TEXT_WIDTH, TEXT_HEADS = 64, 4

SDXL_CHANNELS = (64, 128, 128)  # 64 for a head, which is how many SDXL's files have
SIZE_WIDTH = 256  # of the embedding of each of the six numbers of the size conditioning
TEXT_LAYERS = {"sd1": 12, "sdxl": 13}  # of SDXL's the last is not read


def make_unet(family: Family = "sd1") -> UNet2DConditionModel:
    """An untrained UNet with all the blocks of SD1.5 or SDXL."""
    if family == "sdxl":
        return UNet2DConditionModel(
            sample_size=16,
            block_out_channels=SDXL_CHANNELS,
            layers_per_block=2,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=tuple(width // 64 for width in SDXL_CHANNELS),
            cross_attention_dim=2 * TEXT_WIDTH,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=SIZE_WIDTH,
            projection_class_embeddings_input_dim=6 * SIZE_WIDTH + TEXT_WIDTH,
        )
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=CHANNELS,
        layers_per_block=2,
        attention_head_dim=HEADS,  # diffusers' name for the number of heads
        cross_attention_dim=TEXT_WIDTH,
    )


def make_text_encoder(family: Family = "sd1", number: int = 0) -> TextEncoder:
    """An untrained CLIP text encoder of a family, with the standard vocabulary."""
    place = TEXT_ENCODERS[family][number]
    config = CLIPTextConfig(
        vocab_size=CLIP_VOCABULARY,
        hidden_size=TEXT_WIDTH,
        intermediate_size=4 * TEXT_WIDTH,
        projection_dim=TEXT_WIDTH,
        num_hidden_layers=TEXT_LAYERS[family],
        num_attention_heads=TEXT_HEADS,
        hidden_act="gelu" if place.open_clip else "quick_gelu",
        bos_token_id=CLIP_END - 1,
        eos_token_id=CLIP_END,
        pad_token_id=0 if place.open_clip else CLIP_END,
    )
    model = (CLIPTextModelWithProjection if place.projection else CLIPTextModel)(config)
    # WebUIs bring the output's mean back to what it was after emphasis: it must not be 0.
    layers = model.text_model if hasattr(model, "text_model") else model
    torch.nn.init.constant_(layers.final_layer_norm.bias, 0.25)
    return model


class Networks(nn.Module):
    """UNet and text encoders of a family, which train together."""

    def __init__(self, family: Family = "sd1") -> None:
        super().__init__()
        self.family = family
        self.unet = make_unet(family)
        self.text_encoders = nn.ModuleList(
            make_text_encoder(family, number) for number in range(len(TEXT_ENCODERS[family]))
        )

    def forward(self, latents: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        """Noise (B, 4, h, w) in noisy latents, for captions' tokens (B, 77)."""
        noise: Tensor = self.unet(latents, timesteps, **self.conditioning(latents, tokens)).sample
        return noise

    def conditioning(self, latents: Tensor, tokens: Tensor) -> dict[str, Any]:
        """What the UNet is told beside latents and timesteps: texts, for SDXL also sizes."""
        read = read_captions(self.family, list(self.text_encoders), tokens)
        if read.pooled is None:
            return {"encoder_hidden_states": read.states}
        height, width = (LATENT_PIXELS * side for side in latents.shape[-2:])
        sizes = latents.new_tensor([height, width, 0, 0, height, width]).repeat(len(latents), 1)
        added = {"text_embeds": read.pooled, "time_ids": sizes}
        return {"encoder_hidden_states": read.states, "added_cond_kwargs": added}


def read_captions(family: Family, encoders: Sequence[TextEncoder], tokens: Tensor) -> Conditioning:
    """(B, 77) tokens, padded with the end mark -> what the UNet reads of them.

    SDXL's empty captions are zeros, which is what WebUIs put for an empty negative prompt.
    """
    ends = (tokens == CLIP_END).int().argmax(dim=1, keepdim=True)
    after = torch.arange(tokens.shape[1], device=tokens.device) > ends
    states, pooled = [], None
    for place, encoder in zip(TEXT_ENCODERS[family], encoders, strict=True):
        padded = tokens.masked_fill(after, 0) if place.open_clip else tokens
        part, summary = encode_tokens(family, encoder, padded)
        states.append(part)
        pooled = pooled if summary is None else summary
    joined = torch.cat(states, dim=2)
    if pooled is None:
        return Conditioning(joined)
    said = (ends > 1).to(joined.dtype)  # (B, 1)
    return Conditioning(joined * said[..., None], pooled * said)


def make_checkpoint(networks: Networks, autoencoder: AutoencoderKL) -> Checkpoint:
    """The networks as the rest of the project uses a Stable Diffusion model."""
    family = networks.family
    return Checkpoint(
        path=MODELS[family],
        family=family,
        prediction_type="epsilon",
        zero_terminal_snr=False,
        unet=networks.unet.eval(),
        text_encoders=[encoder.eval() for encoder in networks.text_encoders],
        tokenizers=[
            pad_with_zero(clip_tokenizer()) if place.open_clip else clip_tokenizer()
            for place in TEXT_ENCODERS[family]
        ],
        vae=scaled(autoencoder, SCALING_FACTOR[family]).eval(),
    )
