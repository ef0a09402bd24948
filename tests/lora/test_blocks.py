import pytest

from lib_rimo.errors import UserError
from lib_rimo.lora.blocks import (
    ALL_BLOCKS,
    BLOCKS,
    LAYOUTS,
    UNET_LAYOUTS,
    block_of_key,
    expand_vector,
    fitting_layout,
    place_of_key,
)
from lib_rimo.sd.unet_names import ldm_module_name


def test_layouts_are_ordered_parts_of_the_26_blocks():
    assert len(BLOCKS) == 26
    for size in UNET_LAYOUTS:
        names = LAYOUTS[size]
        assert len(names) == size
        assert list(names) == [block for block in BLOCKS if block in names]


def test_fluxs_layouts_are_sd_webui_lora_block_weights():
    transformer = [*(f"D{n:02}" for n in range(19)), *(f"S{n:02}" for n in range(38))]
    assert LAYOUTS[57] == tuple(transformer)
    assert LAYOUTS[61] == ("BASE", "T5", "IN00", *transformer, "OUT00")
    assert ALL_BLOCKS[: len(BLOCKS)] == BLOCKS


@pytest.mark.parametrize(
    ("key", "block", "element"),
    [
        ("lora_unet_double_blocks_7_img_attn_qkv.lora_down.weight", "D07", "img_attn_qkv"),
        ("lora_unet_single_blocks_37_linear1.alpha", "S37", "linear1"),
        ("transformer.transformer_blocks.3.attn.to_q.lora_A.weight", "D03", "attn_to_q"),
        ("transformer.single_transformer_blocks.0.proj_out.lora_A.weight", "S00", "proj_out"),
        ("diffusion_model.double_blocks.0.txt_mlp.0.weight", "D00", "txt_mlp_0"),
        ("lora_unet_guidance_in_in_layer.alpha", "IN00", "in_layer"),
        ("diffusion_model.final_layer.linear.weight", "OUT00", "linear"),
        ("lora_te1_text_model_encoder_layers_0_mlp_fc1.alpha", "BASE", "encoder_layers_0_mlp_fc1"),
        ("t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q.weight", "T5", None),
    ],
)
def test_fluxs_layers(key, block, element):
    found = place_of_key(key, "Flux")
    assert found == (block, found[1] if element is None else element)


def test_expand_vector_names_values_by_block():
    named = expand_vector([1, 1, 1, 1, 1, 0.8, 0.2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1])
    assert named["IN07"] == 0.8
    assert named["IN08"] == 0.2
    assert "IN03" not in named


@pytest.mark.parametrize("size", [0, 1, 16, 18, 25, 27, 60])
def test_expand_vector_refuses_sizes_that_are_no_layout(size):
    with pytest.raises(UserError, match=f"{size} block values fit no layout"):
        expand_vector([1.0] * size)


def test_what_is_trained_has_a_unets_layouts():
    with pytest.raises(UserError, match="57 block values fit no layout"):
        expand_vector([1.0] * 57, UNET_LAYOUTS)


@pytest.mark.parametrize(
    ("key", "block", "element"),
    [
        # kohya, SD1 and SD2: diffusers' names
        (
            "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight",
            "IN01",
            "transformer_blocks_0_attn1_to_q",
        ),
        ("lora_unet_down_blocks_2_attentions_1_proj_in.alpha", "IN08", "proj_in"),
        ("lora_unet_down_blocks_0_downsamplers_0_conv.lora_up.weight", "IN03", "op"),
        ("lora_unet_down_blocks_3_resnets_1_conv1.hada_w1_a", "IN11", "in_layers_2"),
        ("lora_unet_mid_block_attentions_0_proj_out.lora_up.weight", "M00", "proj_out"),
        ("lora_unet_mid_block_resnets_1_time_emb_proj.lokr_w1", "M00", "emb_layers_1"),
        ("lora_unet_up_blocks_0_upsamplers_0_conv.lora_up.weight", "OUT02", "conv"),
        ("lora_unet_up_blocks_1_attentions_0_norm.alpha", "OUT03", "norm"),
        ("lora_unet_up_blocks_3_resnets_2_conv_shortcut.diff", "OUT11", "skip_connection"),
        # kohya, SDXL: the original names
        (
            "lora_unet_input_blocks_4_1_transformer_blocks_1_ff_net_2.lora_down.weight",
            "IN04",
            "transformer_blocks_1_ff_net_2",
        ),
        ("lora_unet_output_blocks_5_1_proj_out.lora_down.weight", "OUT05", "proj_out"),
        ("lora_unet_middle_block_1_norm.alpha", "M00", "norm"),
        # text encoders
        (
            "lora_te_text_model_encoder_layers_3_mlp_fc1.lora_down.weight",
            "BASE",
            "encoder_layers_3_mlp_fc1",
        ),
        ("lora_te1_text_model_encoder_layers_11_self_attn_q_proj.alpha", "BASE", None),
        ("lora_te2_text_model_encoder_layers_31_self_attn_out_proj.alpha", "BASE", None),
        # the hosts' names of layers
        ("transformer_text_model_encoder_layers_0_self_attn_q_proj", "BASE", None),
        ("0_transformer_text_model_encoder_layers_0_mlp_fc1", "BASE", None),
        ("1_model_transformer_resblocks_0_mlp_c_fc", "BASE", None),
        ("model_transformer_resblocks_0_attn_q_proj", "BASE", None),
        (
            "diffusion_model_input_blocks_1_1_transformer_blocks_0_attn2_to_k",
            "IN01",
            "transformer_blocks_0_attn2_to_k",
        ),
        ("diffusion_model.input_blocks.10.0.in_layers.2.weight", "IN10", "in_layers_2"),
        ("clip_l.transformer.text_model.encoder.layers.0.mlp.fc1.weight", "BASE", None),
        ("clip_g.transformer.text_model.encoder.layers.0.mlp.fc1.weight", "BASE", None),
        # PEFT
        (
            "unet.up_blocks.1.attentions.2.transformer_blocks.0.ff.net.0.proj.lora_A.weight",
            "OUT05",
            "transformer_blocks_0_ff_net_0_proj",
        ),
        ("text_encoder.text_model.encoder.layers.0.self_attn.k_proj.lora_B.weight", "BASE", None),
        ("text_encoder_2.text_model.encoder.layers.0.self_attn.k_proj.lora_B.weight", "BASE", None),
        # the embeddings count to the first block, the output to the last
        ("lora_unet_conv_in.lora_down.weight", "IN00", None),
        ("lora_unet_time_embedding_linear_1.lora_down.weight", "IN00", None),
        ("diffusion_model_time_embed_0", "IN00", None),
        ("diffusion_model_label_emb_0_2", "IN00", None),
        ("lora_unet_conv_out.lora_down.weight", "OUT11", None),
        ("diffusion_model_out_2", "OUT11", None),
        # other architectures
        ("lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight", None, None),
        ("lora_unet_joint_blocks_0_context_block_mlp_fc1.alpha", None, None),
        ("lora_unet_input_blocks_12_1_proj_in.alpha", None, None),
        ("", None, None),
    ],
)
def test_keys_of_every_style(key, block, element):
    assert block_of_key(key) == block
    if element is not None:
        assert place_of_key(key, "sd1")[1] == element


def test_the_last_convolution_of_sdxl_is_in_its_last_block():
    assert block_of_key("diffusion_model_out_2", "sdxl") == "OUT08"
    assert block_of_key("lora_unet_up_blocks_2_attentions_2_proj_in.alpha", "sdxl") == "OUT08"


def unet_module_names():
    residual = ("norm1", "conv1", "time_emb_proj", "norm2", "conv2", "conv_shortcut")
    attention = ("proj_in", "transformer_blocks.0.attn1.to_out.0", "proj_out")
    for level in range(4):
        for side, layers, sampler in (("down", 2, "downsamplers"), ("up", 3, "upsamplers")):
            for layer in range(layers):
                place = f"{side}_blocks.{level}"
                yield from (f"{place}.resnets.{layer}.{part}" for part in residual)
                yield from (f"{place}.attentions.{layer}.{part}" for part in attention)
            if level < 3:
                yield f"{side}_blocks.{level}.{sampler}.0.conv"
    yield from (f"mid_block.resnets.{layer}.{part}" for layer in (0, 1) for part in residual)
    yield from (f"mid_block.attentions.0.{part}" for part in attention)


@pytest.mark.parametrize("name", [*unet_module_names()])
def test_a_layer_has_the_same_place_under_every_name(name):
    original = ldm_module_name(name)
    spellings = [
        f"lora_unet_{name.replace('.', '_')}.lora_down.weight",
        f"unet.{name}.lora_A.weight",
        f"lora_unet_{original.replace('.', '_')}.alpha",
        f"diffusion_model.{original}.weight",
        f"diffusion_model_{original.replace('.', '_')}",
    ]
    assert len({place_of_key(key, "sd1") for key in spellings}) == 1
    number = {"input_blocks": "IN", "output_blocks": "OUT"}
    folder, index, *_ = original.split(".")
    assert block_of_key(spellings[0]) == (
        "M00" if folder == "middle_block" else f"{number[folder]}{int(index):02}"
    )


def test_a_plain_lora_fits_the_short_layout():
    assert fitting_layout(LAYOUTS[17], "sd1") == 17
    assert fitting_layout([*LAYOUTS[17], "IN03"], "sd1") == 26
    assert fitting_layout(["IN04", "M00"], "sdxl") == 12
    assert fitting_layout(["IN00"], "sdxl") == 20
