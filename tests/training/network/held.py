"""What a model holds while it trains, counted without computing: on the meta device."""

import weakref
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

SDXL = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "layers_per_block": 2,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "cross_attention_dim": 2048,
    "attention_head_dim": (5, 10, 20),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}


def full_sdxl(dtype: torch.dtype = torch.bfloat16) -> UNet2DConditionModel:
    """SDXL's UNet, 2.57 billion weights, without memory."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device("meta"):
            return UNet2DConditionModel(**SDXL).requires_grad_(False)
    finally:
        torch.set_default_dtype(usual)


class Held(TorchDispatchMode):
    """Counts the bytes of all that operations give out, as long as it is held by anything."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: dict[int, Any] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and leaf.device.type == "meta":
                self._take_down(leaf.untyped_storage())
        return result

    def ignore(self, *tensors: torch.Tensor) -> None:
        for tensor in tensors:
            storage = tensor.untyped_storage()
            self._seen[id(storage)] = storage

    def _take_down(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()
        if key in self._seen:
            return
        self._seen[key] = weakref.finalize(storage, self._let_go, key, size)
        self.now += size
        self.peak = max(self.peak, self.now)

    def _let_go(self, key: int, size: int) -> None:
        self._seen.pop(key, None)
        self.now -= size
