"""Which kind of Stable Diffusion model a file is, told by its keys, shapes and metadata.

Nothing here needs PyTorch.
"""

import json
from collections.abc import Mapping
from typing import Any, Literal

from lib_rimo.errors import UserError
from lib_rimo.sd.file_header import Shapes

Family = Literal["sd1", "sd2", "sdxl"]
PredictionType = Literal["epsilon", "v_prediction"]

UNET_PREFIX = "model.diffusion_model."
VAE_PREFIX = "first_stage_model."

TIMESTEPS = 1000
"""Steps from a picture to pure noise that all of them were trained on."""

FAMILY_NAMES: dict[str, str] = {"sd1": "SD1", "sd2": "SD2", "sdxl": "SDXL"}
"""What a family is called in a sentence."""

NATIVE_SIDE: dict[Family, int] = {"sd1": 512, "sd2": 768, "sdxl": 1024}
"""Side in pixels of the pictures that a family's models were made for."""

_FOREIGN = (  # (what a key contains, what such a file is)
    ("double_blocks.", "a Flux model"),
    ("joint_blocks.", "a Stable Diffusion 3 model"),
    ("control_model.", "a ControlNet"),
    ("zero_convs.", "a ControlNet"),
    ("lora_", "a LoRA"),
    ("hada_", "a LoRA (LoHa)"),
    ("lokr_", "a LoRA (LoKr)"),
    ("emb_params", "a textual inversion embedding"),
    ("clip_g", "a textual inversion embedding"),
    ("down_blocks.", "a part of a diffusers model"),
    ("layers.0.", "a model of another kind"),
)


def modern_key(key: str) -> str:
    """Today's name of a key: early SD1 merges lack `text_model.`, SD2-Turbo is named as SDXL."""
    old = "cond_stage_model.transformer."
    if key.startswith((old + "embeddings.", old + "encoder.", old + "final_layer_norm.")):
        return f"{old}text_model.{key.removeprefix(old)}"
    if key.startswith("conditioner.embedders.0.model."):
        return key.replace("conditioner.embedders.0.", "cond_stage_model.", 1)
    return key


def detect_family(shapes: Shapes, name: str) -> Family:
    """The family of an LDM single file, told by its shapes under their modern keys.

    Raises UserError, calling the file by `name`, for anything else.
    """
    if f"{UNET_PREFIX}input_blocks.0.0.weight" not in shapes or any(
        "double_blocks." in key or "joint_blocks." in key for key in shapes
    ):
        raise UserError(
            "{name} is {what}, not a Stable Diffusion checkpoint; choose an SD1.x, SD2.x "
            "or SDXL single file.",
            name=name,
            what=_describe(shapes),
        )
    channels = shapes[f"{UNET_PREFIX}input_blocks.0.0.weight"][1]
    if channels != 4:
        kind = {9: "an inpainting", 8: "an instruct-pix2pix"}.get(channels, "a special")
        raise UserError(
            "{name} is {kind} model; choose the plain text-to-image version.", name=name, kind=kind
        )
    if "conditioner.embedders.1.model.ln_final.weight" in shapes:
        return "sdxl"
    if f"{UNET_PREFIX}label_emb.0.0.weight" in shapes:
        raise UserError(
            "{name} is an SDXL refiner or lacks its text encoders; choose an SDXL base model.",
            name=name,
        )
    if "cond_stage_model.model.ln_final.weight" in shapes:
        return "sd2"
    if "cond_stage_model.transformer.text_model.final_layer_norm.weight" in shapes:
        return "sd1"
    raise UserError("{name} holds no text encoder; choose a full checkpoint.", name=name)


def _describe(shapes: Shapes) -> str:
    for part, kind in _FOREIGN:
        if any(part in key for key in shapes):
            return kind
    if any(key.startswith((VAE_PREFIX, "encoder.", "decoder.")) for key in shapes):
        return "a VAE"
    return "a file of another kind"


def stated_prediction_type(
    shapes: Shapes, metadata: Mapping[str, str], config: Mapping[str, Any]
) -> PredictionType | None:
    """The prediction type as the `.yaml`, the metadata or a marker tensor states it."""
    scaling = json.dumps(config.get("denoiser_config", ""))  # SDXL's configurations
    if config.get("parameterization") == "v" or "VScaling" in scaling:
        return "v_prediction"
    if config.get("parameterization") == "eps" or "EpsScaling" in scaling:
        return "epsilon"
    if "v_pred" in shapes:
        return "v_prediction"
    stated = metadata.get("modelspec.prediction_type", "")
    if stated in ("v", "v_prediction"):
        return "v_prediction"
    return "epsilon" if stated else None
