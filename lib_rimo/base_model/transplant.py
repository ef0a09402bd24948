"""SDXL's networks out of those of an SD1 model, so that they need not begin from noise.

What both have is copied: the text encoder twice, the residual blocks, the attention and the time
embedding of SD1's three upper levels. What they read differently is put right by arithmetic: SDXL's
UNet gets its texts without the final norm, so the matrices that come nearest to that norm go into
its keys and values. What SDXL has no place for is gone, attention at the first level and the fourth
level: the blocks beside learn to say what those said, by least squares (`imitation`). What SD1 has
not, sizes and summary, begins by saying nothing. Training does the rest.
"""

from __future__ import annotations

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.upsampling import Upsample2D
from torch import Tensor
from torch.nn import functional
from transformers import CLIPTextModel

from lib_rimo.base_model.imitation import Imitation, imitate
from lib_rimo.base_model.latents import Chunk, tokenize
from lib_rimo.base_model.networks import TEXT_LAYERS, Networks, read_captions
from lib_rimo.demo.world import caption, sample_attributes
from lib_rimo.sd.checkpoint import Checkpoint
from lib_rimo.sd.schedule import TIMESTEPS, NoiseSchedule, shares
from lib_rimo.sd.text_encoders import TextEncoder

CAPTIONS = 96  # that the final norm is made up for with
# SD1's text encoder has let its states grow to 24 times the final norm's. SDXL's UNet reads them
# as they are; as large as this its keys and values stay within reach of a learning rate.
STATES_SCALE = 1 / 8
SEED = 61


@torch.no_grad()
def transplant(source: Checkpoint, chunk: Chunk) -> tuple[Networks, Imitation]:
    """SDXL's networks that say, as nearly as they can, what an SD1 model says of noisy latents."""
    networks = copied(source).eval()
    torch.manual_seed(SEED)
    clean, tokens = chunk.mean.float(), chunk.tokens[:, 0].long()
    timesteps = torch.randint(TIMESTEPS, (2, len(clean))).amax(dim=0)  # as in training
    signal, strength = shares(NoiseSchedule().alphas_cumprod[timesteps])
    noisy = signal * clean + strength * torch.randn_like(clean)
    both = {"sample": noisy, "timestep": timesteps}
    found = imitate(
        networks.unet,
        {**both, **networks.conditioning(noisy, tokens)},
        source.unet,
        {**both, "encoder_hidden_states": source.text_encoders[0](tokens).last_hidden_state},
        {name: _source_module(name) for name in _modules(networks.unet)},
    )
    return networks, found


@torch.no_grad()
def copied(source: Checkpoint) -> Networks:
    """SDXL's networks with the weights that they can have of an SD1 model."""
    networks = Networks("sdxl")
    encoder = source.text_encoders[0]
    for target in networks.text_encoders:
        _copy_text_encoder(encoder, target)
    tokens = _tokens()
    normed = encoder(tokens).last_hidden_state
    states = read_captions("sdxl", list(networks.text_encoders), tokens).states
    fits = [_least_squares(part, normed) for part in states.chunk(len(networks.text_encoders), 2)]
    _copy_unet(source, networks, fits)
    return networks


def _tokens() -> Tensor:
    rng = np.random.default_rng(SEED)
    return tokenize([caption(sample_attributes(rng), rng) for _ in range(CAPTIONS)]).long()


def _copy_text_encoder(source: CLIPTextModel, target: TextEncoder) -> None:
    """All layers, and the last once more, since SDXL's UNet reads the last layer but one."""
    old = {_bare(key): value for key, value in source.state_dict().items()}
    new = target.state_dict()
    last = TEXT_LAYERS["sdxl"] - 1
    for key in new:
        name = _bare(key).replace(f"layers.{last}.", f"layers.{last - 1}.")
        if name not in old:
            continue  # the projection, which SD1 has not
        value = old[name].clone()
        # The norms before each layer see no difference: they take the scale away.
        if "embedding.weight" in name or "out_proj." in name or "fc2." in name:
            value *= STATES_SCALE
        if name.endswith("token_embedding.weight") and target.config.pad_token_id == 0:
            value[0] = value[target.config.eos_token_id]  # OpenCLIP's padding
        new[key] = value
    target.load_state_dict(new)


def _bare(key: str) -> str:
    return key.removeprefix("text_model.")


def _least_squares(states: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """The matrix (D, C) and offset (D,) that bring states (B, 77, C) nearest to (B, 77, D)."""
    rows = functional.pad(states.flatten(0, 1), (0, 1), value=1.0)
    solution = torch.linalg.lstsq(rows, wanted.flatten(0, 1)).solution
    return solution[:-1].T, solution[-1]


def _copy_unet(source: Checkpoint, networks: Networks, fits: list[tuple[Tensor, Tensor]]) -> None:
    old, new = source.unet.state_dict(), networks.unet.state_dict()
    for key, value in new.items():
        name = _source_key(key)
        if name.startswith("add_embedding."):
            new[key] = torch.zeros_like(value) if "linear_2" in name else value
        elif name.endswith(("attn2.to_k.weight", "attn2.to_v.weight")):
            new[key] = torch.cat([old[name] @ matrix for matrix, _ in fits], dim=1) / len(fits)
        else:
            new[key] = old[name].reshape(value.shape)
        if name.endswith("attn2.to_out.0.bias"):
            # The offset is the same for all tokens: keys do without it, values pass it on.
            offset = sum((offset for _, offset in fits), torch.zeros(())) / len(fits)
            layer = name.removesuffix("to_out.0.bias")
            through = old[f"{layer}to_out.0.weight"] @ old[f"{layer}to_v.weight"]
            new[key] = new[key] + through @ offset
    networks.unet.load_state_dict(new)


def _source_key(key: str) -> str:
    """Where SD1's UNet has what SDXL's has under `key`: its own upper blocks begin one later."""
    head, _, rest = key.partition(".")
    if head != "up_blocks":
        return key
    number, _, rest = rest.partition(".")
    return f"{head}.{int(number) + 1}.{rest}"


def _modules(unet: UNet2DConditionModel) -> list[str]:
    """All that adds to what passes through the UNet, in the order of the passing."""
    kinds = (ResnetBlock2D, Transformer2DModel, Downsample2D, Upsample2D)
    return [name for name, module in unet.named_modules() if isinstance(module, kinds)]


def _source_module(name: str) -> str:
    """The module of SD1's UNet that has said so far what this one has to say."""
    if name.startswith("mid_block."):
        return "up_blocks.0.upsamplers.0"  # the end of the fourth level
    if name.startswith(("down_blocks.0.resnets.", "up_blocks.2.resnets.")):
        return _source_key(name).replace(".resnets.", ".attentions.")
    return _source_key(name)
