"""The base model's networks: SD1.5's architecture to the letter, with narrow channels."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from lib_rimo.sd.checkpoint import Checkpoint
from lib_rimo.sd.embedded import MODEL
from lib_rimo.sd.text_encoders import CLIP_END, CLIP_VOCABULARY
from lib_rimo.sd.tokenizer import clip_tokenizer

# 64 and not 32 at the top: the layout's normalisation has 32 groups, and with groups of one channel
# the last one before the output leaves the network no way to say how bright the whole noise is.
CHANNELS = (64, 128, 128, 128)
HEADS = 2  # of the UNet; more would only be slower at this width
TEXT_WIDTH, TEXT_HEADS = 64, 4


def make_unet() -> UNet2DConditionModel:
    """An untrained UNet with SD1.5's 12 input blocks, middle and 12 output blocks."""
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=CHANNELS,
        layers_per_block=2,
        attention_head_dim=HEADS,  # diffusers' name for the number of heads
        cross_attention_dim=TEXT_WIDTH,
    )


def make_text_encoder() -> CLIPTextModel:
    """An untrained CLIP text encoder with 12 layers and the standard vocabulary."""
    config = CLIPTextConfig(
        vocab_size=CLIP_VOCABULARY,
        hidden_size=TEXT_WIDTH,
        intermediate_size=4 * TEXT_WIDTH,
        projection_dim=TEXT_WIDTH,
        num_hidden_layers=12,
        num_attention_heads=TEXT_HEADS,
        bos_token_id=CLIP_END - 1,
        eos_token_id=CLIP_END,
        pad_token_id=CLIP_END,
    )
    model = CLIPTextModel(config)
    # WebUIs bring the output's mean back to what it was after emphasis: it must not be 0.
    layers = model.text_model if hasattr(model, "text_model") else model
    torch.nn.init.constant_(layers.final_layer_norm.bias, 0.25)
    return model


def make_checkpoint(
    unet: UNet2DConditionModel, text_encoder: CLIPTextModel, autoencoder: AutoencoderKL
) -> Checkpoint:
    """The networks as the rest of the project uses a Stable Diffusion 1.x model."""
    return Checkpoint(
        path=MODEL,
        family="sd1",
        prediction_type="epsilon",
        zero_terminal_snr=False,
        unet=unet.eval(),
        text_encoders=[text_encoder.eval()],
        tokenizers=[clip_tokenizer()],
        vae=autoencoder.eval(),
    )
