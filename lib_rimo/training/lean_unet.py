"""diffusers' UNet made lean: the same modules and weights, that compute and keep less.

Parts change their class and nothing else, so that keys, weights and results stay what they are.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.activations import GEGLU
from diffusers.models.attention import FeedForward
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from lib_rimo.lora.frozen import FrozenConv2d, norm_silu
from lib_rimo.lora.layers import LoRALayer
from lib_rimo.lora.low_rank import feed_forward, geglu

MANY_POSITIONS = 2048  # of a map: 512x512 pixels have 4096 at the finest level


class LeanResnet(ResnetBlock2D):  # type: ignore[misc]
    """A residual block that keeps its input and what goes into its second norm."""

    def forward(self, input_tensor: Tensor, temb: Tensor | None, *_: Any, **__: Any) -> Tensor:
        """(B, in, h, w) and the time's embedding (B, T) -> (B, out, h, w)."""
        hidden = self.conv1(norm_silu(input_tensor, self.norm1))
        if temb is not None:
            hidden = hidden + self.time_emb_proj(functional.silu(temb))[:, :, None, None]
        hidden = self.conv2(norm_silu(hidden, self.norm2))
        if self.conv_shortcut is not None:
            input_tensor = self.conv_shortcut(input_tensor)
        result: Tensor = input_tensor + hidden
        return result


class LeanFeedForward(FeedForward):  # type: ignore[misc]
    """A gated feed-forward layer that keeps little of what lies between its two layers."""

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        proj, out = self.net[0].proj, self.net[2]
        first, second = (
            layer.low_rank() if isinstance(layer, LoRALayer) else None for layer in (proj, out)
        )
        if first is None or second is None:
            result: Tensor = out(geglu(proj(hidden_states)))
            return result
        # At the finest level it weighs most, and computing it again is a fiftieth of the work.
        is_fine = hidden_states.shape[1] > MANY_POSITIONS
        return feed_forward(hidden_states, first, second, keep=not is_fine)


class LeanTransformer(Transformer2DModel):  # type: ignore[misc]
    """Transformer blocks whose result is not copied from one memory format to the other."""

    def _get_output_for_continuous_inputs(
        self,
        hidden_states: Tensor,
        residual: Tensor,
        batch_size: int,
        height: int,
        width: int,
        inner_dim: int,
    ) -> Tensor:
        """(B, h * w, C) and what came in, (B, C, h, w) -> (B, C, h, w)."""
        if self.use_linear_projection:
            hidden_states = self.proj_out(hidden_states)
        grid = hidden_states.reshape(batch_size, height, width, -1)
        hidden_states = grid.permute(0, 3, 1, 2)
        if not self.use_linear_projection:
            hidden_states = self.proj_out(hidden_states)
        return hidden_states + residual


def make_lean(unet: UNet2DConditionModel) -> None:
    """Give the parts of a frozen UNet their lean classes."""
    for module in unet.modules():
        if type(module) is nn.Conv2d:
            module.__class__ = FrozenConv2d
        elif type(module) is ResnetBlock2D and _is_plain(module):
            module.__class__ = LeanResnet
        elif type(module) is Transformer2DModel:
            module.__class__ = LeanTransformer
        elif type(module) is FeedForward and isinstance(module.net[0], GEGLU):
            module.__class__ = LeanFeedForward
    if unet.device.type == "cpu":
        unet.to(memory_format=torch.channels_last)


def recompute_large_activations(
    unet: UNet2DConditionModel, family: str, *, is_random: bool
) -> None:
    """Gradient checkpointing where it saves the most for its time.

    In SD1 and SD2 the transformers of the finest level keep about half of all and do little of the
    work; in SDXL the many transformers of coarser levels keep it, so all is computed again.
    Only what `is_random`, as dropout is, needs the random numbers' state, which a recording for
    replay may not ask for.
    """
    unet.enable_gradient_checkpointing(
        partial(checkpoint, use_reentrant=False, preserve_rng_state=is_random)
    )
    if family == "sdxl":
        return
    finest = unet.config.block_out_channels[0]
    for module in unet.modules():
        if hasattr(module, "gradient_checkpointing"):
            is_transformer = isinstance(module, Transformer2DModel)
            module.gradient_checkpointing = is_transformer and module.in_channels == finest


def _is_plain(block: ResnetBlock2D) -> bool:
    """Whether a block is of the kind that Stable Diffusion has."""
    return (
        not (block.up or block.down or block.skip_time_act or block.dropout.p)
        and block.time_embedding_norm == "default"
        and block.output_scale_factor == 1
        and isinstance(block.nonlinearity, nn.SiLU)
    )
