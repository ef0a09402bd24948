"""A WebUI's data folder with a checkpoint, random LoRAs and extensions."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import safe_open

from lib_rimo.base_model.publish import MODEL, install_in_webui
from lib_rimo.lora.files import write_lora

ROOT = Path(__file__).parents[2]

# What the page offers at first, so that it draws in a moment.
SMALL_PICTURES = {
    "txt2img/Width/value": 64,
    "txt2img/Height/value": 64,
    "customscript/sampler.py/txt2img/Sampling steps/value": 2,
}
# Forge's page has its sizes from the settings. And what a picture sets for itself is set back only
# where it stands in the settings' file: without it all later pictures have another one's clip skip,
# and on reForge its checkpoint.
SETTINGS = {
    "CLIP_stop_at_last_layers": 1,
    "sd_t2i_width": 64,
    "sd_t2i_height": 64,
    "sd_i2i_width": 64,
    "sd_i2i_height": 64,
    "show_progress_type": "Approx cheap",  # previews by a network would be downloaded for SDXL
}


def fill(data: Path, model: Path, *extensions: Path) -> Path:
    """Put into an empty folder what a WebUI with `--data-dir` needs; gives the folder."""
    for folder in ("models/Stable-diffusion", "models/Lora", "extensions"):
        (data / folder).mkdir(parents=True)
    checkpoints = data / "models/Stable-diffusion"
    install_checkpoint(model, checkpoints)
    (checkpoint,) = checkpoints.glob("*.safetensors")
    for extension in extensions:
        link_extension(extension, data / "extensions" / extension.name)
    (data / "ui-config.json").write_text(json.dumps(SMALL_PICTURES))
    settings = {**SETTINGS, "sd_model_checkpoint": checkpoint.name}
    (data / "config.json").write_text(json.dumps(settings))
    write_random_loras(model, data / "models/Lora")
    return data


def install_checkpoint(model: Path, folder: Path) -> None:
    if model == MODEL:
        install_in_webui(folder)
        return
    for file in (model, model.with_suffix(".yaml")):
        if file.exists():
            (folder / file.name).symlink_to(file)


def link_extension(extension: Path, into: Path) -> None:
    """What of an extension's folder the WebUI reads; its history makes start-up slow."""
    into.mkdir()
    for path in extension.iterdir():
        if not path.name.startswith("."):
            (into / path.name).symlink_to(path)


def write_random_loras(model: Path, folder: Path) -> None:
    """`one` and `two` as a plain LoRA has its layers, `all` in every block's."""
    write_random_lora(model, folder / "one.safetensors", 1, lambda key: "attn" in key)
    write_random_lora(model, folder / "two.safetensors", 2, lambda key: "attn" in key)
    write_random_lora(model, folder / "all.safetensors", 3, lambda key: True)


def write_random_lora(model: Path, path: Path, seed: int, chosen: Callable[[str], bool]) -> None:
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    with safe_open(model, "pt") as file:
        for key in list(file.keys()):
            name = lora_key(key)
            shape = file.get_slice(key).get_shape()
            if name is None or len(shape) < 2 or not chosen(name):
                continue
            out, inside, *window = shape
            spread = 0.6 * file.get_tensor(key).float().std() / 2
            tensors[f"{name}.lora_down.weight"] = torch.randn(
                4, inside, *window, generator=generator
            )
            tensors[f"{name}.lora_up.weight"] = spread * torch.randn(
                out, 4, *(1 for _ in window), generator=generator
            )
            tensors[f"{name}.alpha"] = torch.tensor(4.0)
    is_sdxl = any("_te1_" in key for key in tensors)
    version = "sdxl_base_v1-0" if is_sdxl else "sd_v1"
    write_lora(path, tensors, {"ss_base_model_version": version, "ss_v2": "False"})


def lora_key(key: str) -> str | None:
    """A checkpoint's key as a LoRA file names the layer; None for what a LoRA leaves alone."""
    name, is_weight, _ = key.rpartition(".weight")
    blocks = ("input_blocks", "middle_block", "output_blocks")
    for model, prefix in (
        ("model.diffusion_model.", "lora_unet_"),
        ("cond_stage_model.transformer.", "lora_te_"),
        ("conditioner.embedders.0.transformer.", "lora_te1_"),
    ):
        inner = name.removeprefix(model).replace(".", "_")
        chosen = inner.startswith((*blocks, "text_model_encoder_layers"))
        if is_weight and name.startswith(model) and chosen and "norm" not in inner:
            return prefix + inner
    return None
