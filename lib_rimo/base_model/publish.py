"""Writes the trained networks as the model that the project carries.

`python -m lib_rimo.base_model.publish FOLDER` copies that model into a WebUI's models.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save

from lib_rimo.base_model.autoencoder import CHANNELS as AUTOENCODER_CHANNELS
from lib_rimo.base_model.autoencoder import SCALE_FACTOR
from lib_rimo.base_model.networks import CHANNELS, HEADS, TEXT_LAYERS, TEXT_WIDTH
from lib_rimo.files import written_beside
from lib_rimo.sd import tokenizer
from lib_rimo.sd.checkpoint import Checkpoint, ldm_tensors
from lib_rimo.sd.embedded import MODEL
from lib_rimo.sd.schedule import BETA_END, BETA_START, TIMESTEPS, alphas_cumprod, betas
from lib_rimo.sd.text_encoders import TextEncoder
from lib_rimo.sd.tokenizer import vocabulary

CLIP_FOLDER = "clip"  # beside the model: the small text encoder's config.json
SDXL_CLIP_FOLDERS = ("clip-l", "clip-g")


def publish(checkpoint: Checkpoint, path: Path) -> None:
    """Write the model in half precision, its `.yaml` and its text encoders' configurations."""
    path.parent.mkdir(exist_ok=True)
    tensors = {
        key: tensor.half().contiguous().clone() for key, tensor in ldm_tensors(checkpoint).items()
    }
    tensors |= schedule_tensors()
    with written_beside(path) as beside:
        beside.write_bytes(save(tensors, {"format": "pt"}))
    is_sdxl = checkpoint.family == "sdxl"
    configuration = sdxl_yaml() if is_sdxl else model_yaml()
    path.with_suffix(".yaml").write_text(configuration, encoding="utf-8")
    folders = SDXL_CLIP_FOLDERS if is_sdxl else (CLIP_FOLDER,)
    for encoder, folder in zip(checkpoint.text_encoders, folders, strict=True):
        write_text_config(encoder, path.parent / folder)


def write_text_config(encoder: TextEncoder, folder: Path) -> None:
    """Write a small text encoder's `config.json`."""
    folder.mkdir(exist_ok=True)
    config = encoder.config.to_dict()
    kept = {
        key: config[key] for key in sorted(config) if isinstance(config[key], (int, float, str))
    }
    kept |= {"architectures": [type(encoder).__name__], "model_type": "clip_text_model"}
    kept.pop("transformers_version", None)
    (folder / "config.json").write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def install_in_webui(folder: Path, model: Path = MODEL) -> None:
    """Copy the model into a WebUI's folder of checkpoints, where the WebUI can load it.

    The WebUI reads CLIP's sizes and tokens from a folder that the `.yaml` names by its full path.
    """
    clip = folder.resolve() / f"{model.stem}-clip"
    clip.mkdir(exist_ok=True)
    shutil.copyfile(model, folder / model.name)
    shutil.copyfile(model.parent / CLIP_FOLDER / "config.json", clip / "config.json")
    (clip / "vocab.json").write_text(json.dumps(vocabulary(), ensure_ascii=False), encoding="utf-8")
    merges = (Path(tokenizer.__file__).parent / "merges.txt").read_text(encoding="utf-8")
    (clip / "merges.txt").write_text(f"#version: 0.2\n{merges}", encoding="utf-8")
    text = model.with_suffix(".yaml").read_text(encoding="utf-8")
    named = text.replace(f"version: {CLIP_FOLDER}\n", f"version: {json.dumps(str(clip))}\n")
    (folder / f"{model.stem}.yaml").write_text(named, encoding="utf-8")


def schedule_tensors() -> dict[str, torch.Tensor]:
    """The noise schedule as SD's files carry it."""
    return {"betas": betas().float(), "alphas_cumprod": alphas_cumprod()}


def model_yaml() -> str:
    """The configuration that WebUIs read beside the model: v1-inference.yaml in narrow."""
    multipliers = [channels // CHANNELS[0] for channels in CHANNELS]
    levels = [channels // AUTOENCODER_CHANNELS[0] for channels in AUTOENCODER_CHANNELS]
    return f"""model:
  target: ldm.models.diffusion.ddpm.LatentDiffusion
  params:
    linear_start: {BETA_START}
    linear_end: {BETA_END:.4f}
    num_timesteps_cond: 1
    log_every_t: 200
    timesteps: {TIMESTEPS}
    first_stage_key: "jpg"
    cond_stage_key: "txt"
    image_size: 64
    channels: 4
    cond_stage_trainable: false
    conditioning_key: crossattn
    monitor: val/loss_simple_ema
    scale_factor: {SCALE_FACTOR}
    use_ema: false
    unet_config:
      target: ldm.modules.diffusionmodules.openaimodel.UNetModel
      params:
        image_size: 32
        in_channels: 4
        out_channels: 4
        model_channels: {CHANNELS[0]}
        attention_resolutions: [4, 2, 1]
        num_res_blocks: 2
        channel_mult: {multipliers}
        num_heads: {HEADS}
        use_spatial_transformer: true
        transformer_depth: 1
        context_dim: {TEXT_WIDTH}
        use_checkpoint: false
        legacy: false
    first_stage_config:
      target: ldm.models.autoencoder.AutoencoderKL
      params:
        embed_dim: 4
        monitor: val/rec_loss
        ddconfig:
          double_z: true
          z_channels: 4
          resolution: 256
          in_channels: 3
          out_ch: 3
          ch: {AUTOENCODER_CHANNELS[0]}
          ch_mult: {levels}
          num_res_blocks: 1
          attn_resolutions: []
          dropout: 0.0
        lossconfig:
          target: torch.nn.Identity
    cond_stage_config:
      target: ldm.modules.encoders.modules.FrozenCLIPEmbedder
      params:
        version: {CLIP_FOLDER}
"""


def sdxl_yaml() -> str:
    """What Rimo's loader cannot tell from the file: its prediction, its text encoders' heads.

    It is no configuration for a WebUI, none of which makes an OpenCLIP of any size.
    """
    first, second = SDXL_CLIP_FOLDERS
    return f"""model:
  params:
    denoiser_config:
      target: sgm.modules.diffusionmodules.denoiser.DiscreteDenoiser
      params:
        scaling_config:
          target: sgm.modules.diffusionmodules.denoiser_scaling.EpsScaling
    conditioner_config:
      target: sgm.modules.GeneralConditioner
      params:
        emb_models:
          - target: sgm.modules.encoders.modules.FrozenCLIPEmbedder
            params:
              version: {first}
              layer: hidden
              layer_idx: {TEXT_LAYERS["sdxl"] - 1}
          - target: sgm.modules.encoders.modules.FrozenOpenCLIPEmbedder2
            params:
              version: {second}
              layer: penultimate
              always_return_pooled: true
"""


def main() -> None:
    """Read the command line and install the model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a WebUI's models/Stable-diffusion")
    install_in_webui(parser.parse_args().folder)


if __name__ == "__main__":
    main()
