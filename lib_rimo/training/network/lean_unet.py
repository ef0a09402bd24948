"""diffusers' UNet made lean: the same modules and weights, that compute and keep less.

Parts change their class and nothing else, so that keys, weights and results stay what they are.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.activations import GEGLU
from diffusers.models.attention import BasicTransformerBlock, FeedForward
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn
from torch.nn import functional

from lib_rimo.training.network.frozen import FrozenConv2d, norm_silu
from lib_rimo.training.network.heap import give_back_gaps
from lib_rimo.training.network.large_maps import MANY_POSITIONS
from lib_rimo.training.network.layers import LoRALayer
from lib_rimo.training.network.low_rank import LowRank, Norm, feed_forward, geglu, projections


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
    """A gated feed-forward layer that keeps little of what lies between its two layers.

    It is handed the norm before it, which a lean transformer block leaves to it.
    """

    def forward(self, hidden_states: Tensor, norm: nn.Module) -> Tensor:
        """(B, N, C), not yet normed -> (B, N, C)."""
        proj, out = self.net[0].proj, self.net[2]
        layers = _low_ranks([proj, out])
        if layers is None or not isinstance(norm, nn.LayerNorm):
            result: Tensor = out(geglu(proj(norm(hidden_states))))
            return result
        # At the fine levels it weighs most, and computing it again is a fiftieth of the work each.
        is_fine = hidden_states.shape[1] > MANY_POSITIONS
        return feed_forward(hidden_states, _lean_norm(norm), *layers, keep=not is_fine)


class LeanTransformerBlock(BasicTransformerBlock):  # type: ignore[misc]
    """Attention, cross-attention and feed-forward that keep nothing of what their norms make."""

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: None = None,
        encoder_hidden_states: Tensor | None = None,
        *_: Any,
        **__: Any,
    ) -> Tensor:
        """(B, N, C) and what was said (B, T, D) -> (B, N, C)."""
        hidden = hidden_states + _attend(self.attn1, hidden_states, self.norm1, None)
        hidden = hidden + _attend(self.attn2, hidden, self.norm2, encoder_hidden_states)
        result: Tensor = hidden + self.ff(hidden, self.norm3)
        return result


def _attend(attention: Attention, x: Tensor, norm: nn.Module, text: Tensor | None) -> Tensor:
    """x (B, N, C), normed, looks at itself or at the text (B, T, D) -> (B, N, C)."""
    to_q, to_k, to_v = attention.to_q, attention.to_k, attention.to_v
    if text is None:
        parts = _project(x, norm, [to_q, to_k, to_v])
    else:
        parts = *_project(x, norm, [to_q]), to_k(text), to_v(text)
    # Each (B, heads, N or T, C / heads).
    queries, keys, values = (
        part.view(*part.shape[:-1], attention.heads, -1).transpose(1, 2) for part in parts
    )
    mixed = functional.scaled_dot_product_attention(queries, keys, values)
    result: Tensor = attention.to_out[0](mixed.transpose(1, 2).flatten(2))
    return result


def _project(x: Tensor, norm: nn.Module, layers: list[nn.Module]) -> tuple[Tensor, ...]:
    """x (B, N, C), normed, through each of the layers."""
    low_ranks = _low_ranks(layers)
    if low_ranks is None or not isinstance(norm, nn.LayerNorm):
        normed = norm(x)
        return tuple(layer(normed) for layer in layers)
    return projections(x, _lean_norm(norm), low_ranks)


def _low_ranks(layers: list[nn.Module]) -> list[LowRank] | None:
    """The layers as low-rank ones, where all of them are."""
    found = [layer.low_rank() if isinstance(layer, LoRALayer) else None for layer in layers]
    return None if None in found else cast("list[LowRank]", found)


def _lean_norm(norm: nn.LayerNorm) -> Norm:
    return Norm(norm.weight, norm.bias, norm.eps)


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
        elif type(module) is BasicTransformerBlock:
            module.__class__ = LeanTransformerBlock
        elif type(module) is FeedForward and isinstance(module.net[0], GEGLU):
            module.__class__ = LeanFeedForward
    if unet.device.type == "cpu":
        for block in (*unet.down_blocks, *unet.up_blocks):
            block.register_forward_hook(_give_back_large_gaps, with_kwargs=True)


def _give_back_large_gaps(
    _block: nn.Module, _: tuple[Any, ...], arguments: dict[str, Any], _result: Any
) -> None:
    """After a block over a large map, between whose kept activations others were freed."""
    if torch.is_grad_enabled() and arguments["hidden_states"][0, 0].numel() > MANY_POSITIONS:
        give_back_gaps()


def _is_plain(block: ResnetBlock2D) -> bool:
    """Whether a block is of the kind that Stable Diffusion has."""
    return (
        not (block.up or block.down or block.skip_time_act or block.dropout.p)
        and block.time_embedding_norm == "default"
        and block.output_scale_factor == 1
        and isinstance(block.nonlinearity, nn.SiLU)
    )
