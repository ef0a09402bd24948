"""The base model as one who looks at pictures: features of their parts, and how well words fit.

Both take the UNet without any LoRA, one step of noise and no sampling. Features: Tang et al. 2023,
"Emergent Correspondence from Image Diffusion" (arXiv:2306.03881). Words: Li et al. 2023, "Your
Diffusion Model is Secretly a Zero-Shot Classifier" (arXiv:2303.16203).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from lib_rimo.inference.prompt import Conditioning, encode_prompt
from lib_rimo.sd.checkpoint import Checkpoint
from lib_rimo.sd.schedule import alphas_cumprod, shares
from lib_rimo.sd.size import LATENT_PIXELS

FEATURE_TIMESTEP = 150
"""Little noise: what tells one character from another is colour and ornament. In a
first trial over the timesteps 150 and 261 and six places in the UNet, the first residual block of
the last level at 150 went with the judge's identity best."""
WORD_TIMESTEP = 700
"""Much noise, where the words decide what is drawn; 400 beside it told nothing more."""
BATCH = 8


class PictureEncoder:
    """Looks at pictures with a checkpoint's UNet, in which no LoRA may be merged at the time."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._alphas = alphas_cumprod(checkpoint.zero_terminal_snr)
        self._read = lru_cache(maxsize=256)(lambda text: encode_prompt(checkpoint, text))

    @torch.no_grad()
    def latents(self, pictures: Sequence[Image.Image]) -> Tensor:
        """The pictures' latents, (N, 4, h, w); all pictures have one size."""
        vae = self._checkpoint.vae
        pixels = np.stack([np.asarray(picture.convert("RGB")) for picture in pictures])
        batch = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1  # (N, 3, H, W)
        parts = [
            vae.encode(part.to(vae.device, vae.dtype)).latent_dist.mean
            for part in torch.split(batch, BATCH)
        ]
        latents: Tensor = torch.cat(parts).float() * vae.config.scaling_factor
        return latents

    def features(self, latents: Tensor) -> Tensor:
        """What the UNet's last level makes of each latent cell, of length 1: (N, h * w, C)."""
        kept: list[Tensor] = []
        last: nn.Module = self._checkpoint.unet.up_blocks[-1].resnets[0]
        hook = last.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
        try:
            self._errors(latents, "", FEATURE_TIMESTEP)
        finally:
            hook.remove()
        cells = torch.cat(kept).float().flatten(2).transpose(1, 2)
        return functional.normalize(cells, dim=-1)

    def errors(self, latents: Tensor, prompt: str) -> Tensor:
        """Mean squared error of the noise that the UNet predicts under a prompt: (N,)."""
        return self._errors(latents, prompt, WORD_TIMESTEP)

    @torch.no_grad()
    def _errors(self, latents: Tensor, prompt: str, timestep: int) -> Tensor:
        """(N,) at one timestep; the noise is the same for every picture and every prompt."""
        conditioning = self._read(prompt)
        generator = torch.Generator().manual_seed(timestep)
        noise = torch.randn(latents.shape[1:], generator=generator).to(latents)[None]
        signal, strength = shares(self._alphas[timestep].to(latents))
        noisy = signal * latents + strength * noise
        target = noise
        if self._checkpoint.prediction_type == "v_prediction":
            target = signal * noise - strength * latents
        errors = [
            (self._predict(part, timestep, conditioning) - wanted).square().mean((1, 2, 3))
            for part, wanted in zip(
                torch.split(noisy, BATCH),
                torch.split(target.expand_as(latents), BATCH),
                strict=True,
            )
        ]
        return torch.cat(errors)

    def _predict(self, noisy: Tensor, timestep: int, conditioning: Conditioning) -> Tensor:
        """The UNet's output, (N, 4, h, w)."""
        unet, count = self._checkpoint.unet, len(noisy)
        states = conditioning.states.expand(count, -1, -1)
        added: dict[str, Any] = {}
        if conditioning.pooled is not None:  # SDXL
            height, width = (LATENT_PIXELS * side for side in noisy.shape[2:])
            sizes = torch.tensor([[height, width, 0, 0, height, width]], device=noisy.device)
            added["added_cond_kwargs"] = {
                "text_embeds": conditioning.pooled.expand(count, -1),
                "time_ids": sizes.expand(count, -1).to(unet.dtype),
            }
        output = unet(
            noisy.to(unet.dtype),
            torch.tensor(timestep, device=noisy.device),
            encoder_hidden_states=states.to(unet.dtype),
            **added,
        ).sample
        result: Tensor = output.float()
        return result
