"""The recipes that come with Rimo, with their reasons: one for each family of base models, more.

The recipe for few pictures is every option's default and stays as its author found it, on an SD1.5
model. Those of the other families change of it only what their family asks for; what is for no
family goes with any, on top of that family's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lib_rimo.messages import Message
from lib_rimo.sd.native import Native

FEW_PICTURES = "few pictures"
BACKGROUNDS_KEPT = "few pictures, backgrounds kept"
SDXL = "few pictures, SDXL and Illustrious"
V_PREDICTION = "few pictures, NoobAI v-prediction"


@dataclass(frozen=True)
class BuiltIn:
    """A recipe as what it changes of the options' defaults."""

    options: Mapping[str, Any] = field(default_factory=dict)
    reasons: tuple[Message, ...] = ()


_FOR_SDXL: Mapping[str, Any] = {
    "text_encoder_lr": 0.0,
    "gradient_checkpointing": True,
    "max_bucket_reso": 2048,
}

BASE_BEHIND: Mapping[str, Any] = {
    "masked_training": True,
    "normalize_masked_area_loss": True,
    "masked_prior_preservation_weight": 1.0,
    "mask_expand_pixels": 8,
}
"""Her own loss for the character, behind her what the base model draws there.

A cell of latents, 8 pixels, around her is hers: where the base model had its way up to her rim,
her hair took the colour of her clothes. With less weight behind her places that prompts name are
followed less (docs/reproduction.md has both measured).
"""

BUILT_IN: Mapping[str, BuiltIn] = {
    FEW_PICTURES: BuiltIn(
        {},
        (
            Message(
                "The author's own, found on SD1.5 with five pictures made twenty: a small rank, "
                "alpha 2 and few steps, so that clothes, poses and places stay free."
            ),
        ),
    ),
    BACKGROUNDS_KEPT: BuiltIn(
        {
            **BASE_BEHIND,
            "network_alpha": 3.0,
            "min_timestep": 300,
        },
        (
            Message(
                "The author's with her own loss for the character, and behind her what the base "
                "model itself would draw: no plain ground is learned with her. For pictures that "
                "were made with other backgrounds."
            ),
            Message(
                "Alpha 3, the highest at which the author's LoRAs stayed general: holding on to "
                "the base model slows how the character is learned."
            ),
            Message(
                "The least noisy timesteps, below 300, are left out: likeness is decided before."
            ),
        ),
    ),
    SDXL: BuiltIn(
        _FOR_SDXL,
        (
            Message(
                "As the author's, but its two text encoders stay as they are, for they forget "
                "tags sooner than they learn one (kohya's advice for SDXL); gradient checkpointing "
                "makes it fit, and buckets may be as long as SDXL's own. Not measured here."
            ),
        ),
    ),
    V_PREDICTION: BuiltIn(
        {**_FOR_SDXL, "v_parameterization": True, "zero_terminal_snr": True},
        (
            Message(
                "As for SDXL, for a model that predicts v on a schedule that ends in pure noise, "
                "as NoobAI's v-prediction versions do: trained as noise prediction it would learn "
                "grey. Not measured here."
            ),
        ),
    ),
}


FOR_ANY_FAMILY = (BACKGROUNDS_KEPT,)


def options_of(recipe: str, native: Native | None) -> dict[str, Any]:
    """What a recipe changes of the defaults, for a base model; None: for SD1.x."""
    family = recipe_for(native) if native and recipe in FOR_ANY_FAMILY else FEW_PICTURES
    return {**BUILT_IN[family].options, **BUILT_IN[recipe].options}


def recipe_for(native: Native) -> str:
    """The name of the recipe for a base model's family."""
    if native.family != "sdxl":
        return FEW_PICTURES
    return V_PREDICTION if native.prediction_type == "v_prediction" else SDXL
