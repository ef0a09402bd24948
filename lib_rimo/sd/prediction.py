"""What a model predicts where neither its file nor a `.yaml` states it: it is asked.

Merging tools drop the empty tensors `v_pred` and `ztsnr` by which SDXL models state it.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from lib_rimo.sd.family import NATIVE_SIDE, TIMESTEPS, Family, PredictionType
from lib_rimo.sd.schedule import alphas_cumprod

Source = Literal["stated", "probed", "assumed"]

SIDE = 32
"""Latent cells of the pictures asked about: few, for a CPU takes seconds over more."""
SOME_NOISE, ALL_NOISE = 300, TIMESTEPS - 1
SHIFT = 0.1
"""Of the latents' mean; the noise's own is a third of it."""


class Prediction(NamedTuple):
    """What a model predicts, whether its noise schedule ends in pure noise, and who says so."""

    type: PredictionType
    zero_terminal_snr: bool
    source: Source


@torch.no_grad()
def probe_prediction(unet: UNet2DConditionModel, family: Family) -> Prediction:
    """Ask a UNet that nothing is stated of; SD1 models all predict noise.

    SD2's are asked as the WebUI asks them, so that what is trained is what is drawn. SDXL's the
    WebUI does not ask at all.
    """
    if family == "sd1":
        return Prediction("epsilon", False, "assumed")
    if family == "sd2":
        return Prediction(_sd2_type(unet), False, "probed")
    noise = torch.randn(1, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    noise = noise.to(unet.device)
    # Of noise over an empty picture both kinds of model give back the noise. A prediction of v
    # counts it by the signal's share, 0.77 at the lower level and 0.07 or 0 at the last.
    low, high = (_share_told(unet, noise, at) for at in (SOME_NOISE, ALL_NOISE))
    if low < 0.25:  # it cannot tell noise, so nothing is learned by asking
        return Prediction("epsilon", False, "assumed")
    if high > 0.5 * low:
        return Prediction("epsilon", False, "probed")
    # Where the last level leaves something of a picture, a model has learned to tell from the mean
    # how bright that was, and -1 / 0.07 of a shift is what it would say at most.
    brighter, darker = (_ask(unet, noise + by, ALL_NOISE).mean() for by in (SHIFT, -SHIFT))
    told = (brighter - darker).item() / (2 * SHIFT)
    return Prediction("v_prediction", told > -2, "probed")


def _share_told(unet: UNet2DConditionModel, noise: Tensor, timestep: int) -> float:
    """How much of the noise over an empty picture a UNet's output holds."""
    strength = (1 - alphas_cumprod()[timestep]).sqrt()
    output = _ask(unet, strength.to(noise) * noise, timestep)
    return ((output * noise).sum() / noise.square().sum()).item()


def _ask(unet: UNet2DConditionModel, latent: Tensor, timestep: int) -> Tensor:
    """What a UNet says of a latent, (1, 4, h, w) in float32, with no words given."""
    like: dict[str, Any] = {"device": unet.device, "dtype": unet.dtype}
    added = None
    if unet.config.addition_embed_type == "text_time":
        sizes = 6 * unet.config.addition_time_embed_dim
        pooled = unet.config.projection_class_embeddings_input_dim - sizes
        side = NATIVE_SIDE["sdxl"]
        added = {
            "text_embeds": torch.zeros(1, pooled, **like),
            "time_ids": torch.tensor([[side, side, 0, 0, side, side]], device=unet.device),
        }
    output: Tensor = unet(
        latent.to(unet.dtype),
        timestep,
        encoder_hidden_states=torch.zeros(1, 2, unet.config.cross_attention_dim, **like),
        added_cond_kwargs=added,
    ).sample
    return output.float()


def _sd2_type(unet: UNet2DConditionModel) -> PredictionType:
    """At the last timestep the latent is all noise.

    An epsilon model returns its input, a v model something near its negative picture, whose mean
    is well below.
    """
    latent = torch.full((1, 4, 8, 8), 0.5, device=unet.device)
    mean = (_ask(unet, latent, ALL_NOISE) - latent).mean().item()
    return "v_prediction" if mean < -1 else "epsilon"
