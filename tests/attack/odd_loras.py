"""LoRA files as nobody wants them, from a seed: whole, damaged, absurd and hostile ones."""

import json
import random
import struct
from collections.abc import Iterator

import numpy as np

LAYERS = (
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_k",
    "lora_unet_mid_block_attentions_0_proj_in",
    "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_v",
    "lora_te_text_model_encoder_layers_0_mlp_fc1",
    "diffusion_model.output_blocks.3.1.proj_out",
    "x" * 300,
    "\x1b[31mred\x07",
    "bundle_emb.word",
    "",
    "lora_unet_double_blocks_0_img_attn_proj",
)
FORMS = (
    {"lora_down.weight": (4, 32), "lora_up.weight": (32, 4), "alpha": ()},
    {"lora_A.weight": (4, 32), "lora_B.weight": (32, 4)},
    {"lora_down.weight": (4, 32, 3, 3), "lora_up.weight": (32, 4, 1, 1), "alpha": ()},
    {"hada_w1_a": (32, 4), "hada_w1_b": (4, 32), "hada_w2_a": (32, 4), "hada_w2_b": (4, 32)},
    {"lokr_w1": (4, 4), "lokr_w2_a": (8, 2), "lokr_w2_b": (2, 8), "alpha": ()},
    {"lora_down.weight": (4, 32), "lora_up.weight": (32, 4), "dora_scale": (1, 32)},
    {"diff": (32, 32), "diff_b": (32,)},
    {"w_norm": (32,), "b_norm": (32,)},
    {"weight": (32,), "on_input": ()},
    {"oft_blocks": (4, 8, 8), "alpha": ()},
    {"oft_blocks": (2, 4, 8, 8), "rescale": (32, 1)},
    {"a1.weight": (4, 32), "a2.weight": (32, 4), "b1.weight": (4, 32), "b2.weight": (32, 4),
     "alpha": ()},
    {"word.string_to_param.*": (2, 32)},
    {"nonsense": (3,)},
)  # fmt: skip
DEEP = "[" * 100_000
METADATA = (
    {},
    {"ss_tag_frequency": json.dumps({"1_a": {"1girl": 3, "kimono \x1b[2J": 2}})},
    {"ss_tag_frequency": '{"a": {"b": 1e999}}'},
    {"ss_tag_frequency": DEEP, "rimo_baked_weights": DEEP},
    {"ss_tag_frequency": "[1, 2]", "ss_steps": "\x1b]0;title\x07"},
    {"ss_base_model_version": "\x1b[31m" * 99, "modelspec.architecture": "flux-1-dev/lora"},
    {"ss_v2": "True", "sshs_model_hash": "short"},
    {"x" * 300: "y" * 3000},
)
FAULTS = (
    None, None, None, "nan", "inf", "huge", "rank 0", "wider", "flat", "single", "two alphas",
    "no alpha", "missing", "integers", "half", "gigantic", "truncated", "header", "deep header",
)  # fmt: skip


def odd_loras(count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """(what is odd about it, the file's content), the same ones for the same seed."""
    rng = random.Random(seed)
    for number in range(count):
        fault = rng.choice(FAULTS)
        layers = rng.sample(LAYERS, rng.choice([0, 1, 1, 2, 3]))
        form, metadata = rng.choice(FORMS), rng.choice(METADATA)
        tensors = {}
        for layer in layers:
            for part, shape in form.items():
                tensors[f"{layer}.{part}"] = _tensor(rng, part, shape, fault)
        if fault == "missing" and tensors:
            del tensors[rng.choice(list(tensors))]
        yield f"{number}: {fault}, {sorted(form)}, {layers}", _file(tensors, metadata, fault)


def _tensor(rng: random.Random, part: str, shape: tuple[int, ...], fault: str | None):
    value = 0.1
    if fault in ("nan", "inf", "huge") and shape:
        value = {"nan": float("nan"), "inf": float("inf"), "huge": 3e38}[fault]
    if fault == "rank 0":
        shape = tuple(0 if size == 4 else size for size in shape)
    if fault == "wider" and rng.random() < 0.5:
        shape = tuple(size + 1 for size in shape)
    if fault == "flat" and rng.random() < 0.5:
        shape = (int(np.prod(shape)),)
    if fault == "single" and rng.random() < 0.5:
        shape = ()
    if fault in ("two alphas", "no alpha") and part == "alpha":
        shape = (2,) if fault == "two alphas" else (0,)
    if fault == "gigantic" and part in ("lora_up.weight", "lora_down.weight"):
        shape = (200_000, 1) if part == "lora_up.weight" else (1, 200_000)
    kind = {"integers": np.int64, "half": np.float16}.get(fault or "", np.float32)
    return np.full(shape, value, dtype=kind)


_KINDS = {"float32": "F32", "float16": "F16", "int64": "I64"}


def _file(tensors: dict, metadata: dict[str, str], fault: str | None) -> bytes:
    header: dict = {"__metadata__": metadata} if metadata else {}
    content = b""
    for name, tensor in tensors.items():
        data = tensor.tobytes()
        header[name] = {
            "dtype": _KINDS[tensor.dtype.name],
            "shape": list(tensor.shape),
            "data_offsets": [len(content), len(content) + len(data)],
        }
        content += data
    text = json.dumps(header).encode()
    if fault == "deep header":
        text = b'{"a":' * 50_000
    if fault == "header":
        text = text[:-1]
    whole = struct.pack("<Q", len(text)) + text + content
    return whole[: len(whole) // 2] if fault == "truncated" else whole
