"""How kohya's trainer names a LoRA's layers, and how that relates to the model's own names.

A key in a file is `<prefix>_<module name with underscores>.<tensor>`, for example
`lora_unet_mid_block_attentions_0_proj_in.lora_down.weight`. The module name is diffusers' for
SD1 and SD2 and LDM's (`input_blocks_4_1_...`) for the UNet of SDXL, whose reference trainer was
written on LDM's code. Where there is a model files are matched by making the key of every module
of it, never by turning underscores back into dots.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import nn

from lib_rimo.sd.unet_names import ldm_module_name

UNET_PREFIX = "lora_unet"
_RESIDUAL_PARTS = ("resnets", "downsamplers", "upsamplers")


def text_encoder_prefixes(family: str) -> tuple[str, ...]:
    """The prefix of each text encoder: one for SD1 and SD2, two for SDXL."""
    return ("lora_te1", "lora_te2") if family == "sdxl" else ("lora_te",)


def unet_key(family: str, module_name: str) -> str:
    """The key of a UNet module that diffusers calls `module_name`."""
    name = ldm_module_name(module_name) if family == "sdxl" else module_name
    return f"{UNET_PREFIX}_{name.replace('.', '_')}"


def text_encoder_key(prefix: str, module_name: str) -> str:
    """The key of a text encoder module, with or without transformers' `text_model.` in front."""
    name = module_name.removeprefix("text_model.")
    return f"{prefix}_text_model_{name.replace('.', '_')}"


def trained_layers(
    family: str, unet: nn.Module | None, text_encoders: Sequence[nn.Module]
) -> Iterator[tuple[str, nn.Module, str, bool]]:
    """The layers that kohya's trainer trains: (key, parent, name in parent, residual or not).

    Linear layers and convolutions of the UNet's attention and, `residual`, of its residual blocks,
    down- and upsamplers; attention and MLP layers of the text encoders.
    """
    prefixes = text_encoder_prefixes(family)
    for prefix, encoder in zip(prefixes, text_encoders, strict=False):
        for path, parent, name in _layers(encoder):
            if ".self_attn." in path or ".mlp." in path:
                yield text_encoder_key(prefix, path), parent, name, False
    if unet is not None:
        for path, parent, name in _layers(unet):
            residual = any(f".{part}." in path for part in _RESIDUAL_PARTS)
            if residual or ".attentions." in path:
                yield unet_key(family, path), parent, name, residual


def trained_norms(family: str, unet: nn.Module) -> Iterator[tuple[str, nn.Module, str, bool]]:
    """The norms that LyCORIS' `train_norm` trains, in the same form: those of a UNet's blocks."""
    for path, parent, name in _layers(unet, (nn.GroupNorm, nn.LayerNorm)):
        residual = any(f".{part}." in path for part in _RESIDUAL_PARTS)
        if residual or ".attentions." in path:
            yield unet_key(family, path), parent, name, residual


def _layers(
    model: nn.Module, kinds: tuple[type[nn.Module], ...] = (nn.Linear, nn.Conv2d)
) -> Iterator[tuple[str, nn.Module, str]]:
    for parent_path, parent in model.named_modules():
        for name, child in parent.named_children():
            if isinstance(child, kinds):
                yield f"{parent_path}.{name}".lstrip("."), parent, name
