"""Random SDXL checkpoints: a narrow one, with the `.yaml` by which AUTOMATIC1111 makes a model for
it, and one of the shapes by which the Forges know SDXL."""

import json
from pathlib import Path

import torch
import yaml
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from lib_rimo.sd import tokenizer
from lib_rimo.sd.tokenizer import clip_tokenizer
from tests.sd.narrow import narrow_checkpoint, save_checkpoint

CHANNELS = (64, 128, 128)
DEPTHS = (1, 2, 3)
TEXT_WIDTH = 32
OPEN_CLIP, OPEN_CLIP_WIDTH, OPEN_CLIP_LAYERS = "ViT-S-32-alt", 256, 10  # open_clip's narrowest
CONTEXT, SIZES = TEXT_WIDTH + OPEN_CLIP_WIDTH, 6 * 256

# The Forges look at the first width, the depths and what goes in; other widths are multiples of it.
KNOWN_CHANNELS, KNOWN_DEPTHS = (320, 320, 320), (1, 2, 10)
CLIP_WIDTH, CLIP_LAYERS, BIG_CLIP_WIDTH, BIG_CLIP_LAYERS = 768, 12, 1280, 32


def write_sdxl(folder: Path) -> Path:
    """Write `sdxl.safetensors`, its `.yaml` and the folder of its first text encoder."""
    checkpoint = narrow_checkpoint("sdxl")
    torch.manual_seed(5)
    checkpoint.unet = _unet(CHANNELS, DEPTHS, CONTEXT, OPEN_CLIP_WIDTH)
    checkpoint.text_encoders[1] = _open_clip(OPEN_CLIP_WIDTH, OPEN_CLIP_LAYERS)
    path = folder / "sdxl.safetensors"
    save_checkpoint(checkpoint, path)
    clip = folder / "clip"
    clip.mkdir()
    first = checkpoint.text_encoders[0].config.to_dict()
    (clip / "config.json").write_text(json.dumps({**first, "dtype": None}))
    (clip / "vocab.json").write_text(json.dumps(clip_tokenizer().get_vocab(), ensure_ascii=False))
    merges = (Path(tokenizer.__file__).parent / "merges.txt").read_text(encoding="utf-8")
    (clip / "merges.txt").write_text(f"#version: 0.2\n{merges}", encoding="utf-8")
    path.with_suffix(".yaml").write_text(yaml.safe_dump(_configuration(clip), sort_keys=False))
    return path


def write_sdxl_for_forges(path: Path) -> Path:
    """Write a random checkpoint that the Forges take for SDXL (2.4 GB); gives its path."""
    checkpoint = narrow_checkpoint("sdxl")
    torch.manual_seed(5)
    config = CLIPTextConfig(
        hidden_size=CLIP_WIDTH,
        intermediate_size=4 * CLIP_WIDTH,
        num_hidden_layers=CLIP_LAYERS,
        num_attention_heads=CLIP_WIDTH // 64,
        bos_token_id=49406,
        eos_token_id=49407,
        pad_token_id=49407,
    )
    previous = torch.get_default_dtype()
    torch.set_default_dtype(torch.float16)
    try:
        checkpoint.text_encoders = [
            CLIPTextModel(config),
            _open_clip(BIG_CLIP_WIDTH, BIG_CLIP_LAYERS),
        ]
        checkpoint.unet = _unet(
            KNOWN_CHANNELS, KNOWN_DEPTHS, CLIP_WIDTH + BIG_CLIP_WIDTH, BIG_CLIP_WIDTH
        )
        checkpoint.vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            latent_channels=4,
        )
    finally:
        torch.set_default_dtype(previous)
    save_checkpoint(checkpoint, path)
    return path


def _unet(
    channels: tuple[int, ...], depths: tuple[int, ...], context: int, pooled: int
) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        block_out_channels=channels,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=depths,
        attention_head_dim=tuple(width // 64 for width in channels),  # the number of heads
        cross_attention_dim=context,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=SIZES + pooled,
        sample_size=8,
    )


def _open_clip(width: int, layers: int) -> CLIPTextModelWithProjection:
    config = CLIPTextConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        hidden_act="gelu",
        bos_token_id=49406,
        eos_token_id=49407,
        pad_token_id=0,
    )
    return CLIPTextModelWithProjection(config)


def _configuration(clip: Path) -> dict[str, object]:
    """The host's own configuration of SDXL, in narrow."""
    modules = "sgm.modules"
    diffusion, encoders = f"{modules}.diffusionmodules", f"{modules}.encoders.modules"
    text = {"is_trainable": False, "input_key": "txt"}
    embedders: list[object] = [
        {
            **text,
            "target": f"{encoders}.FrozenCLIPEmbedder",
            "params": {"version": str(clip), "layer": "hidden", "layer_idx": 2},
        },
        {
            **text,
            "target": f"{encoders}.FrozenOpenCLIPEmbedder2",
            "params": {
                "arch": OPEN_CLIP,
                "freeze": True,
                "layer": "penultimate",
                "always_return_pooled": True,
                "legacy": False,
            },
        },
        *(
            {
                "is_trainable": False,
                "input_key": key,
                "target": f"{encoders}.ConcatTimestepEmbedderND",
                "params": {"outdim": 256},
            }
            for key in ("original_size_as_tuple", "crop_coords_top_left", "target_size_as_tuple")
        ),
    ]
    denoiser = {
        "num_idx": 1000,
        "weighting_config": {"target": f"{diffusion}.denoiser_weighting.EpsWeighting"},
        "scaling_config": {"target": f"{diffusion}.denoiser_scaling.EpsScaling"},
        "discretization_config": {"target": f"{diffusion}.discretizer.LegacyDDPMDiscretization"},
    }
    network = {
        "adm_in_channels": SIZES + OPEN_CLIP_WIDTH,
        "num_classes": "sequential",
        "use_checkpoint": False,
        "in_channels": 4,
        "out_channels": 4,
        "model_channels": CHANNELS[0],
        "attention_resolutions": [4, 2],
        "num_res_blocks": 2,
        "channel_mult": [channels // CHANNELS[0] for channels in CHANNELS],
        "num_head_channels": 64,
        "use_spatial_transformer": True,
        "use_linear_in_transformer": True,
        "transformer_depth": list(DEPTHS),
        "context_dim": CONTEXT,
        "spatial_transformer_attn_type": "softmax-xformers",
        "legacy": False,
    }
    autoencoder = {
        "attn_type": "vanilla-xformers",
        "double_z": True,
        "z_channels": 4,
        "resolution": 256,
        "in_channels": 3,
        "out_ch": 3,
        "ch": 32,
        "ch_mult": [1, 1, 1, 1],
        "num_res_blocks": 2,
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    return {
        "model": {
            "target": "sgm.models.diffusion.DiffusionEngine",
            "params": {
                "scale_factor": 0.13025,
                "disable_first_stage_autocast": True,
                "denoiser_config": {
                    "target": f"{diffusion}.denoiser.DiscreteDenoiser",
                    "params": denoiser,
                },
                "network_config": {
                    "target": f"{diffusion}.openaimodel.UNetModel",
                    "params": network,
                },
                "conditioner_config": {
                    "target": f"{modules}.GeneralConditioner",
                    "params": {"emb_models": embedders},
                },
                "first_stage_config": {
                    "target": "sgm.models.autoencoder.AutoencoderKLInferenceWrapper",
                    "params": {
                        "embed_dim": 4,
                        "monitor": "val/rec_loss",
                        "ddconfig": autoencoder,
                        "lossconfig": {"target": "torch.nn.Identity"},
                    },
                },
            },
        }
    }
