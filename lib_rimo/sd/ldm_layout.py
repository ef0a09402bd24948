"""Where each tensor of a diffusers model lies in an LDM single file, both ways.

The layout is derived from the diffusers model's own key list, so one mapping serves reading
and writing and holds for any number of levels, layers and heads.
Sources: CompVis/latent-diffusion `openaimodel.py`, `diffusionmodules/model.py`; OpenCLIP's
`transformer.py`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lib_rimo.sd.family import UNET_PREFIX, VAE_PREFIX
from lib_rimo.sd.unet_names import ldm_module_name

_VAE_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}
_OPEN_CLIP_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_OPEN_CLIP_ENDS = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
}
_THIRDS = ("q", "k", "v")


@dataclass(frozen=True)
class Source:
    """The tensor of an LDM file that holds one tensor of a diffusers model, and in which form.

    `conv` is a linear weight kept as a 1x1 convolution, `transposed` a matrix kept the other way
    round, and `q`, `k`, `v` are the thirds of OpenCLIP's joint input projection.
    """

    key: str
    form: Literal["same", "conv", "transposed", "q", "k", "v"] = "same"

    def read(self, get: Callable[[str], Tensor], shape: torch.Size) -> Tensor:
        """The tensor as the diffusers model wants it; `get` fetches a file's tensor by key."""
        tensor = get(self.key)
        if self.form == "conv":
            return tensor.reshape(shape)
        if self.form == "transposed":
            return tensor.T.contiguous()
        if self.form in _THIRDS:
            return tensor.chunk(3)[_THIRDS.index(self.form)].contiguous()
        return tensor


Layout = dict[str, Source]


def unet_layout(keys: Iterable[str]) -> Layout:
    """Layout of a UNet2DConditionModel with these state-dict keys."""
    keys = list(keys)
    levels = range(len({key.split(".")[1] for key in keys if key.startswith("up_blocks.")}))
    with_attention = {
        int(key.split(".")[1]) for key in keys if re.match(r"up_blocks\.\d+\.attentions", key)
    }
    without_attention = set(levels) - with_attention

    def source(key: str) -> Source:
        module, _, kind = key.rpartition(".")
        return Source(f"{UNET_PREFIX}{ldm_module_name(module, without_attention)}.{kind}")

    return {key: source(key) for key in keys}


def vae_layout(keys: Iterable[str]) -> Layout:
    """Layout of an AutoencoderKL with these state-dict keys."""
    keys = list(keys)
    top = max(int(key.split(".")[2]) for key in keys if key.startswith("decoder.up_blocks."))

    def source(name: str) -> Source:
        form: Literal["same", "conv"] = "same"
        name = name.replace("mid_block.resnets.0", "mid.block_1")
        name = name.replace("mid_block.resnets.1", "mid.block_2")
        name = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
        name = re.sub(r"down_blocks\.(\d+)\.resnets", r"down.\1.block", name)
        name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", name)
        name = re.sub(r"up_blocks\.(\d+)\.resnets", lambda m: f"up.{top - int(m[1])}.block", name)
        name = re.sub(
            r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"up.{top - int(m[1])}.upsample", name
        )
        head, attention, tail = name.partition("mid_block.attentions.0.")
        if attention:
            part, _, kind = tail.rpartition(".")
            name = f"{head}mid.attn_1.{_VAE_ATTENTION[part]}.{kind}"
            form = "conv" if kind == "weight" and part != "group_norm" else "same"
        return Source(VAE_PREFIX + name, form)

    return {key: source(key) for key in keys}


def clip_layout(keys: Iterable[str], prefix: str) -> Layout:
    """Layout of a transformers CLIP text model whose tensors lie at `prefix` (`...transformer.`).

    transformers 5 names them without the `text_model.` that files carry.
    """
    return {key: Source(f"{prefix}text_model.{_bare(key)}") for key in keys}


def open_clip_layout(keys: Iterable[str], prefix: str) -> Layout:
    """Layout of a transformers CLIP text model whose file holds OpenCLIP's at `prefix`."""

    def source(name: str) -> Source:
        if name == "text_projection.weight":
            return Source(f"{prefix}text_projection", "transposed")
        if name in _OPEN_CLIP_ENDS:
            return Source(prefix + _OPEN_CLIP_ENDS[name])
        match = re.fullmatch(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", name)
        if match is None:
            raise KeyError(f"{name!r} has no place in OpenCLIP's layout")
        layer, part, kind = f"{prefix}transformer.resblocks.{match[1]}.", match[2], match[3]
        if part in _OPEN_CLIP_LAYER:
            return Source(f"{layer}{_OPEN_CLIP_LAYER[part]}.{kind}")
        third = part.removeprefix("self_attn.")[0]  # q_proj, k_proj, v_proj
        return Source(f"{layer}attn.in_proj_{kind}", third)  # type: ignore[arg-type]

    return {key: source(_bare(key)) for key in keys}


def _bare(key: str) -> str:
    return key.removeprefix("text_model.")


def to_ldm(state_dict: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """A diffusers model's tensors under their keys, and in their forms, of an LDM file."""
    tensors: dict[str, Tensor] = {}
    thirds: dict[str, dict[str, Tensor]] = {}
    for key, source in layout.items():
        tensor = state_dict[key]
        if source.form == "conv":
            tensor = tensor[:, :, None, None]
        elif source.form == "transposed":
            tensor = tensor.T
        if source.form in _THIRDS:
            thirds.setdefault(source.key, {})[source.form] = tensor
        else:
            tensors[source.key] = tensor.contiguous()
    for file_key, parts in thirds.items():
        tensors[file_key] = torch.cat([parts[third] for third in _THIRDS])
    return tensors
