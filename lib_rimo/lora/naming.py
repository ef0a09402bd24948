"""The ways in which LoRA files name their tensors, told in kohya's way.

kohya's trainer names a tensor `<key>.<part>`: `lora_unet_mid_block_attentions_0_proj_in` is the key
of a layer, `lora_down.weight` the part. Other programs name the same tensors by other words, which
the two tables below translate:

| written by | key | part |
| --- | --- | --- |
| kohya's trainer | `lora_unet_mid_block_...`, `oft_unet_...` | `.lora_down.weight`, `.oft_blocks` |
| LyCORIS' wrapper | `lycoris_mid_block_...` | `.lokr_w1` |
| PEFT, diffusers | `unet.mid_block....attn1.to_k` | `.lora_A.weight`, `.lora_A.default.weight` |
| diffusers, earlier | `unet.mid_block....attn1.processor.to_k_lora` | `.down.weight` |
| ComfyUI | `diffusion_model.middle_block....attn1.to_k` | `.lora_down.weight` |

Whether a layer goes by diffusers' or by the original code's name is left as it is: both are told by
the model (`lib_rimo.inference.apply`) and by the blocks (`lib_rimo.lora.blocks`).
"""

from __future__ import annotations

from typing import NamedTuple

EMBEDDINGS = "bundle_emb"  # what embeddings beside a LoRA are called

# Beginning of a name -> beginning of kohya's key. The first that fits counts; in names with dots
# (those that end with one) the dots behind become underscores.
_PREFIXES = (
    ("lora_", "lora_"),
    ("oft_unet_", "lora_unet_"),
    ("boft_unet_", "lora_unet_"),
    ("oft_te_", "lora_te_"),
    ("oft_te1_", "lora_te1_"),
    ("oft_te2_", "lora_te2_"),
    ("lycoris_unet_", "lora_unet_"),
    ("lycoris_te_", "lora_te_"),
    ("lycoris_te1_", "lora_te1_"),
    ("lycoris_te2_", "lora_te2_"),
    ("lycoris_text_model_", "lora_te1_text_model_"),
    ("lycoris_", "lora_unet_"),
    ("base_model.model.text_model.", "lora_te1_text_model_"),
    ("base_model.model.", "lora_unet_"),
    ("unet.base_model.model.", "lora_unet_"),
    ("unet.", "lora_unet_"),
    ("model.diffusion_model.", "lora_unet_"),
    ("diffusion_model.", "lora_unet_"),
    ("text_encoder_2.encoder.", "lora_te2_text_model_encoder_"),
    ("text_encoder_2.", "lora_te2_"),
    ("text_encoder.encoder.", "lora_te1_text_model_encoder_"),
    ("text_encoder.", "lora_te1_"),
    ("text_encoders.clip_g.transformer.", "lora_te2_"),
    ("text_encoders.clip_l.transformer.", "lora_te1_"),
    ("text_encoders.clip_h.transformer.", "lora_te1_"),
    ("clip_g.transformer.", "lora_te2_"),
    ("clip_l.transformer.", "lora_te1_"),
    ("clip_h.transformer.", "lora_te1_"),
    ("text_model.", "lora_te1_text_model_"),
    ("down_blocks.", "lora_unet_down_blocks_"),
    ("mid_block.", "lora_unet_mid_block_"),
    ("up_blocks.", "lora_unet_up_blocks_"),
)

# End of a name -> kohya's part.
_PARTS = {
    **dict.fromkeys(
        (
            "lora_A.weight",
            "lora.down.weight",
            "lora_linear_layer.down.weight",
            "lora_conv2d_layer.down.weight",
        ),
        "lora_down.weight",
    ),
    **dict.fromkeys(
        (
            "lora_B.weight",
            "lora.up.weight",
            "lora_linear_layer.up.weight",
            "lora_conv2d_layer.up.weight",
        ),
        "lora_up.weight",
    ),
    **dict.fromkeys(("lora_magnitude_vector.weight", "lora_magnitude_vector"), "dora_scale"),
    **{
        part: part
        for part in (
            *("lora_down.weight", "lora_up.weight", "lora_mid.weight", "dora_scale"),
            *("alpha", "scale", "diff", "diff_b", "w_norm", "b_norm", "weight", "on_input", "bias"),
            *(f"hada_{name}" for name in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")),
            *(f"lokr_{name}{i}{end}" for name in "wt" for i in "12" for end in ("", "_a", "_b")),
            *("oft_blocks", "oft_diag", "rescale"),
            *("a1.weight", "a2.weight", "b1.weight", "b2.weight"),
        )
    },
}
# diffusers' attention processors held the matrices beside the layers that they belong to.
_PROCESSOR = ".processor."
_PROCESSOR_LAYERS = {
    "to_q_lora": "to_q",
    "to_k_lora": "to_k",
    "to_v_lora": "to_v",
    "to_out_lora": "to_out.0",
}
_PROCESSOR_PARTS = {"down.weight": "lora_down.weight", "up.weight": "lora_up.weight"}
_ADAPTER_MATRICES = ("lora_A", "lora_B", "lora_magnitude_vector")


class TensorName(NamedTuple):
    """A tensor of a file: the key of its layer and which part of the layer's change it is."""

    key: str
    part: str


def read_tensor_name(name: str) -> TensorName:
    """What a tensor's name in a file of any of these programs means.

    A name in no known way is split at its first dot, as kohya's are.
    """
    if name.startswith(f"{EMBEDDINGS}."):
        return TensorName(EMBEDDINGS, name[len(EMBEDDINGS) + 1 :])
    layer, part = _split_part(name)
    for beginning, key in _PREFIXES:
        if layer.startswith(beginning):
            return TensorName(key + layer[len(beginning) :].replace(".", "_"), part)
    if part in _PARTS.values():
        return TensorName(layer.replace(".", "_"), part)
    key, _, part = name.partition(".")
    return TensorName(key, part)


def _split_part(name: str) -> tuple[str, str]:
    """(the layer as it is written, kohya's name of the part)."""
    words = name.split(".")
    if len(words) > 3 and words[-3] in _ADAPTER_MATRICES and words[-1] == "weight":
        del words[-2]  # the adapter's name, which PEFT writes between
    if _PROCESSOR in name and len(words) > 3 and words[-3] in _PROCESSOR_LAYERS:
        part = _PROCESSOR_PARTS.get(".".join(words[-2:]))
        if part is not None:
            above = [word for word in words[:-3] if word != "processor"]
            return ".".join([*above, _PROCESSOR_LAYERS[words[-3]]]), part
    for count in (3, 2, 1):
        part = _PARTS.get(".".join(words[-count:]))
        if part is not None and len(words) > count:
            return ".".join(words[:-count]), part
    if name.startswith(("lora_", "lycoris_", "oft_", "boft_")):
        layer, _, part = name.partition(".")
    else:
        layer, _, part = name.rpartition(".")
    return layer, part
