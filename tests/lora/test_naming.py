import pytest

from lib_rimo.lora.blocks import block_of_key
from lib_rimo.lora.facts import facts_of_header
from lib_rimo.lora.naming import read_tensor_name

TO_K = "mid_block.attentions.0.transformer_blocks.0.attn1.to_k"
KEY = "lora_unet_" + TO_K.replace(".", "_")
LDM_TO_K = "middle_block.1.transformer_blocks.0.attn1.to_k"
LDM_KEY = "lora_unet_" + LDM_TO_K.replace(".", "_")
FC1 = "text_model.encoder.layers.0.mlp.fc1"
TEXT_KEY = "text_model_encoder_layers_0_mlp_fc1"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (f"{KEY}.lora_down.weight", (KEY, "lora_down.weight")),
        (f"{KEY}.alpha", (KEY, "alpha")),
        (f"{KEY}.hada_w1_a", (KEY, "hada_w1_a")),
        (f"oft_unet_{KEY[10:]}.oft_blocks", (KEY, "oft_blocks")),
        (f"lycoris_{KEY[10:]}.lokr_w1", (KEY, "lokr_w1")),
        (f"lycoris_{TEXT_KEY}.lokr_w1", (f"lora_te1_{TEXT_KEY}", "lokr_w1")),
        (f"unet.{TO_K}.lora_A.weight", (KEY, "lora_down.weight")),
        (f"unet.{TO_K}.lora_B.default_0.weight", (KEY, "lora_up.weight")),
        (f"unet.{TO_K}.lora_magnitude_vector", (KEY, "dora_scale")),
        (f"base_model.model.{TO_K}.lora_A.weight", (KEY, "lora_down.weight")),
        (f"unet.{TO_K}.lora.up.weight", (KEY, "lora_up.weight")),
        (f"unet.{TO_K}.alpha", (KEY, "alpha")),
        (
            f"unet.{TO_K.removesuffix('to_k')}processor.to_out_lora.up.weight",
            (f"{KEY.removesuffix('to_k')}to_out_0", "lora_up.weight"),
        ),
        (
            f"{TO_K.removesuffix('to_k')}processor.to_k_lora.down.weight",
            (KEY, "lora_down.weight"),
        ),
        (f"diffusion_model.{LDM_TO_K}.lora_up.weight", (LDM_KEY, "lora_up.weight")),
        (f"diffusion_model.{LDM_TO_K}.lora.up.weight", (LDM_KEY, "lora_up.weight")),
        (f"text_encoder.{FC1}.lora_A.weight", (f"lora_te1_{TEXT_KEY}", "lora_down.weight")),
        (
            f"text_encoder_2.{FC1}.lora_linear_layer.up.weight",
            (f"lora_te2_{TEXT_KEY}", "lora_up.weight"),
        ),
        (
            f"text_encoders.clip_l.transformer.{FC1}.lora_down.weight",
            (f"lora_te1_{TEXT_KEY}", "lora_down.weight"),
        ),
        ("bundle_emb.word.string_to_param.*", ("bundle_emb", "word.string_to_param.*")),
        ("nothing", ("nothing", "")),
    ],
)
def test_every_programs_names_are_told_in_kohyas_way(name, expected):
    assert read_tensor_name(name) == expected


IN_DOWN = "down_blocks.1.attentions.0.transformer_blocks"
SDXL_SPEC = {"modelspec.architecture": "stable-diffusion-xl-v1-base/lora"}


@pytest.mark.parametrize(
    ("name", "metadata", "family"),
    [
        (f"unet.{TO_K}.lora_A.weight", {}, "sd1"),
        (f"unet.{IN_DOWN}.1.attn1.to_k.lora_A.weight", {}, "sdxl"),
        (f"lora_unet_{IN_DOWN.replace('.', '_')}_9_ff_net_2.lokr_w1", {}, "sdxl"),
        ("lora_unet_input_blocks_1_1_proj_in.diff", {}, "sd1"),
        ("lora_unet_down_blocks_1_attentions_0_proj_in.diff", SDXL_SPEC, "sdxl"),
    ],
)
def test_families_are_told_in_any_style(name, metadata, family):
    assert facts_of_header({name: [4, 640]}, metadata).family == family


@pytest.mark.parametrize(
    ("part", "shapes", "family"),
    [
        ("hada", {"hada_w1_b": [4, 2048]}, "sdxl"),
        ("lokr", {"lokr_w1": [8, 32], "lokr_w2_b": [4, 64]}, "sdxl"),
        ("lokr", {"lokr_w1": [8, 16], "lokr_w2": [4, 64]}, "sd2"),
        ("full", {"diff": [640, 2048]}, "sdxl"),
    ],
)
def test_the_width_of_the_text_is_told_by_every_form(part, shapes, family):
    key = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
    named = {f"{key}.{name}": shape for name, shape in shapes.items()}
    assert facts_of_header(named, {}).family == family


@pytest.mark.parametrize(
    ("name", "metadata"),
    [
        ("lora_unet_joint_blocks_0_x_block_attn_qkv.lora_down.weight", {}),
        ("lora_unet_blocks_0_x.lora_down.weight", {"ss_base_model_version": "lumina2"}),
        (f"{KEY}.lora_down.weight", {"modelspec.architecture": "Flux.1-dev/lora"}),
    ],
)
def test_other_models_are_no_stable_diffusion(name, metadata):
    assert facts_of_header({name: [4, 8]}, metadata) is None


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("lora_unet_double_blocks_0_img_attn_proj.lora_down.weight", "D00"),
        ("transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight", "S00"),
    ],
)
def test_flux_has_blocks_of_its_own(name, block):
    facts = facts_of_header({name: [4, 8]}, {})
    assert (facts.family, facts.blocks, facts.layout) == ("Flux", (block,), 57)


def test_blocks_are_told_from_every_style():
    for name in (f"unet.{TO_K}.lora_A.weight", f"diffusion_model.{LDM_TO_K}.lora.up.weight"):
        assert block_of_key(read_tensor_name(name).key) == "M00"
