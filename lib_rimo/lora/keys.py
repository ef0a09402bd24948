"""How kohya's trainer names a LoRA's layers, and how that relates to the model's own names.

A key in a file is `<prefix>_<module name with underscores>.<tensor>`, for example
`lora_unet_mid_block_attentions_0_proj_in.lora_down.weight`. The module name is diffusers' for
SD1 and SD2 and LDM's (`input_blocks_4_1_...`) for the UNet of SDXL, whose reference trainer was
written on LDM's code. Underscores cannot be turned back into dots, so files are matched by making
the key of every module of the model, never by parsing.
"""

from __future__ import annotations

from lib_rimo.sd.unet_names import ldm_module_name

UNET_PREFIX = "lora_unet"


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
