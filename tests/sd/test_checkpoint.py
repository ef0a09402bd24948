import json

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders import single_file_utils
from safetensors.torch import load_file, save_file

from lib_rimo.errors import UserError
from lib_rimo.sd import ldm_layout
from lib_rimo.sd.architecture import unet_arguments
from lib_rimo.sd.checkpoint import ldm_tensors, load_checkpoint
from lib_rimo.sd.tokenizer import clip_tokenizer, pad_with_zero
from tests.sd.narrow import narrow_checkpoint, save_checkpoint, write_narrow_checkpoint

FAMILIES = ("sd1", "sd2", "sdxl")


def add_unused_layer(path):
    """Put back the last text layer of an SD2 file, which is never read."""
    tensors = load_file(path)
    prefix = "cond_stage_model.model.transformer.resblocks."
    for key in [key for key in tensors if key.startswith(f"{prefix}2.")]:
        tensors[key.replace(f"{prefix}2.", f"{prefix}3.")] = torch.zeros_like(tensors[key])
    save_file(tensors, path)


@pytest.fixture(params=FAMILIES, scope="module")
def written(request, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param) / "model.safetensors"
    checkpoint = write_narrow_checkpoint(path, request.param)
    if request.param == "sd2":
        add_unused_layer(path)
    return checkpoint


def modules(checkpoint):
    return [checkpoint.unet, checkpoint.vae, *checkpoint.text_encoders]


def test_a_written_checkpoint_is_read_back_exactly(written):
    loaded = load_checkpoint(written.path)
    assert loaded.family == written.family
    assert loaded.prediction_type == "epsilon"
    assert len(loaded.tokenizers) == len(loaded.text_encoders)
    for ours, theirs in zip(modules(loaded), modules(written), strict=True):
        assert ours.state_dict().keys() == theirs.state_dict().keys()
        for key, tensor in theirs.state_dict().items():
            torch.testing.assert_close(ours.state_dict()[key], tensor, rtol=0, atol=0)
        assert not any(parameter.requires_grad for parameter in ours.parameters())
        assert not ours.training
    assert loaded.vae.config.scaling_factor == written.vae.config.scaling_factor


def test_a_loaded_checkpoint_computes_what_the_written_one_does(written):
    loaded = load_checkpoint(written.path)
    latent = torch.randn(1, 4, 8, 8)
    tokens = written.tokenizers[0]("a girl", padding="max_length", return_tensors="pt").input_ids
    context = []
    for ours, theirs in zip(loaded.text_encoders, written.text_encoders, strict=True):
        states = theirs(tokens, output_hidden_states=True).hidden_states[-2]
        torch.testing.assert_close(
            ours(tokens, output_hidden_states=True).hidden_states[-2], states
        )
        context.append(states)
    added = {"text_embeds": torch.randn(1, 64), "time_ids": torch.randn(1, 6)}
    arguments = {
        "encoder_hidden_states": torch.cat(context, -1),
        "added_cond_kwargs": added if written.family == "sdxl" else None,
    }
    torch.testing.assert_close(
        loaded.unet(latent, 500, **arguments).sample, written.unet(latent, 500, **arguments).sample
    )
    torch.testing.assert_close(loaded.vae.decode(latent).sample, written.vae.decode(latent).sample)


def test_diffusers_own_conversion_agrees(written):
    tensors = ldm_tensors(written)
    unet = single_file_utils.convert_ldm_unet_checkpoint(tensors, written.unet.config)
    vae = single_file_utils.convert_ldm_vae_checkpoint(tensors, written.vae.config)
    for converted, model in ((unet, written.unet), (vae, written.vae)):
        assert converted.keys() == model.state_dict().keys()
        for key, tensor in model.state_dict().items():
            torch.testing.assert_close(converted[key], tensor, rtol=0, atol=0)


def test_diffusers_own_text_encoder_conversion_agrees(written):
    place = {
        "sd1": "cond_stage_model.transformer.",
        "sd2": "cond_stage_model.model.",
        "sdxl": "conditioner.embedders.1.model.",
    }[written.family]
    encoder, tensors = written.text_encoders[-1], ldm_tensors(written)
    if written.family == "sd1":
        converted = single_file_utils.convert_ldm_clip_checkpoint(tensors)
    else:
        converted = single_file_utils.convert_open_clip_checkpoint(encoder, tensors, prefix=place)
    converted = {key.removeprefix("text_model."): tensor for key, tensor in converted.items()}
    ours = {key.removeprefix("text_model."): t for key, t in encoder.state_dict().items()}
    assert converted.keys() >= ours.keys() - {"text_projection.weight"}
    for key in ours.keys() & converted.keys():
        torch.testing.assert_close(converted[key], ours[key], rtol=0, atol=0)


def test_heads_and_prediction_type_come_from_the_yaml(tmp_path):
    path = tmp_path / "model.safetensors"
    write_narrow_checkpoint(path, "sd1", heads=4, v=True)
    loaded = load_checkpoint(path)
    assert loaded.prediction_type == "v_prediction"
    assert loaded.unet.down_blocks[0].attentions[0].transformer_blocks[0].attn1.heads == 4


def test_a_small_clip_comes_from_the_folder_that_the_yaml_names(tmp_path):
    path = tmp_path / "model.safetensors"
    checkpoint = narrow_checkpoint("sd1", path)
    encoder = checkpoint.text_encoders[0]
    encoder.resize_token_embeddings(300)
    encoder.config.update({"bos_token_id": 298, "eos_token_id": 299, "num_attention_heads": 2})
    save_checkpoint(checkpoint, path)
    with pytest.raises(UserError, match="vocabulary of its own"):
        load_checkpoint(path)
    encoder.config.save_pretrained(tmp_path / "clip")
    (tmp_path / "clip" / "merges.txt").write_text("#version: 0.2\nc a\nca t</w>\n")
    vocabulary = {token: n for n, token in enumerate(["c", "a", "t</w>", "ca", "cat</w>"])}
    vocabulary |= {"<|startoftext|>": 298, "<|endoftext|>": 299}
    (tmp_path / "clip" / "vocab.json").write_text(json.dumps(vocabulary))
    path.with_suffix(".yaml").write_text(
        "model: {params: {cond_stage_config: {params: {version: clip}}}}"
    )
    link = tmp_path / "webui" / "model.safetensors"
    link.parent.mkdir()
    link.symlink_to(path)
    link.with_suffix(".yaml").symlink_to(path.with_suffix(".yaml"))
    assert load_checkpoint(link).text_encoders[0].config.num_attention_heads == 2
    loaded = load_checkpoint(path)
    assert loaded.text_encoders[0].config.num_attention_heads == 2
    assert loaded.tokenizers[0]("cat").input_ids == [298, 4, 299]


@pytest.mark.parametrize(
    ("metadata", "expected"), [("v", "v_prediction"), ("epsilon", "epsilon"), ("", "epsilon")]
)
def test_prediction_type_comes_from_the_metadata(tmp_path, metadata, expected):
    path = tmp_path / "model.safetensors"
    tensors = ldm_tensors(narrow_checkpoint("sdxl"))
    save_file(tensors, path, {"modelspec.prediction_type": metadata})
    assert load_checkpoint(path).prediction_type == expected


def test_marker_tensors_tell_prediction_type_and_zero_terminal_snr(tmp_path):
    path = tmp_path / "model.safetensors"
    markers = {"v_pred": torch.tensor([]), "ztsnr": torch.tensor([])}
    save_file(ldm_tensors(narrow_checkpoint("sdxl")) | markers, path)
    loaded = load_checkpoint(path)
    assert loaded.prediction_type == "v_prediction"
    assert loaded.zero_terminal_snr


def test_a_small_clip_without_its_folder_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    write_narrow_checkpoint(path, "sd1")
    path.with_suffix(".yaml").write_text(
        "model: {params: {cond_stage_config: {params: {version: clip}}}}"
    )
    with pytest.raises(UserError, match=r"put the folder clip with its config\.json"):
        load_checkpoint(path)


def test_an_unlabelled_sd2_is_asked_itself(tmp_path):
    path = tmp_path / "model.safetensors"
    checkpoint = write_narrow_checkpoint(path, "sd2")
    add_unused_layer(path)
    tensors = load_file(path)
    tensors["model.diffusion_model.out.2.bias"] = torch.full((4,), -9.0)
    save_file(tensors, path)
    assert load_checkpoint(path).prediction_type == "v_prediction"
    assert checkpoint.prediction_type == "epsilon"


def test_old_text_encoder_keys_are_understood(tmp_path):
    path = tmp_path / "model.safetensors"
    tensors = ldm_tensors(narrow_checkpoint("sd1"))
    save_file({key.replace("text_model.", ""): t for key, t in tensors.items()}, path)
    assert load_checkpoint(path).family == "sd1"


def test_a_pickled_checkpoint_is_read_without_running_code(tmp_path):
    good, evil = tmp_path / "good.ckpt", tmp_path / "evil.ckpt"
    torch.save({"state_dict": ldm_tensors(narrow_checkpoint("sd1"))}, good)
    assert load_checkpoint(good).family == "sd1"

    class Evil:
        def __reduce__(self):
            return (tmp_path.joinpath("owned").touch, ())

    torch.save({"state_dict": Evil()}, evil)
    with pytest.raises(UserError, match=r"without running the code"):
        load_checkpoint(evil)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("version", "is_read"), [("2.5.1+cu124", False), ("1.13.1", False), ("2.6.0", True)]
)
def test_no_pickle_is_opened_where_weights_only_can_be_got_around(
    tmp_path, monkeypatch, version, is_read
):
    path = tmp_path / "good.ckpt"
    torch.save({"state_dict": ldm_tensors(narrow_checkpoint("sd1"))}, path)
    monkeypatch.setattr(torch, "__version__", version)
    if is_read:
        assert load_checkpoint(path).family == "sd1"
        return
    monkeypatch.setattr(torch, "load", None)
    with pytest.raises(UserError, match=r"or PyTorch 2\.6 or newer"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("double_blocks.0.img_attn.qkv.weight", "a Flux model"),
        ("model.diffusion_model.joint_blocks.0.x", "a Stable Diffusion 3 model"),
        ("lora_unet_mid_block_attentions_0_proj_in.lora_down.weight", "a LoRA"),
        ("first_stage_model.encoder.conv_in.weight", "a VAE"),
        ("decoder.conv_in.weight", "a VAE"),
        ("emb_params", "a textual inversion embedding"),
        ("something.else", "a file of another kind"),
    ],
)
def test_a_foreign_file_gets_one_clear_sentence(tmp_path, key, what):
    path = tmp_path / "foreign.safetensors"
    save_file({key: torch.zeros(2, 2)}, path)
    with pytest.raises(UserError, match=what):
        load_checkpoint(path)


def test_damaged_missing_and_incomplete_files(tmp_path):
    with pytest.raises(UserError, match="no model file"):
        load_checkpoint(tmp_path / "none.safetensors")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"\x10\0\0\0\0\0\0\0 not json at all")
    with pytest.raises(UserError, match="damaged"):
        load_checkpoint(damaged)
    tensors = ldm_tensors(narrow_checkpoint("sd1"))
    del tensors["model.diffusion_model.middle_block.1.norm.bias"]
    incomplete = tmp_path / "incomplete.safetensors"
    save_file(tensors, incomplete)
    with pytest.raises(UserError, match=r"lacks .*middle_block\.1\.norm\.bias"):
        load_checkpoint(incomplete)


def test_inpainting_models_are_refused(tmp_path):
    tensors = ldm_tensors(narrow_checkpoint("sd1"))
    tensors["model.diffusion_model.input_blocks.0.0.weight"] = torch.zeros(32, 9, 3, 3)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="inpainting"):
        load_checkpoint(tmp_path / "model.safetensors")


def test_half_precision_keeps_the_autoencoder_whole(tmp_path):
    path = tmp_path / "model.safetensors"
    write_narrow_checkpoint(path, "sd1")
    loaded = load_checkpoint(path, dtype=torch.float16)
    assert loaded.unet.dtype == loaded.text_encoders[0].dtype == torch.float16
    assert loaded.vae.dtype == torch.float32


def test_channels_last_when_asked_for(tmp_path):
    path = tmp_path / "model.safetensors"
    write_narrow_checkpoint(path, "sd1")
    plain = load_checkpoint(path)
    loaded = load_checkpoint(path, memory_format=torch.channels_last)
    for module in ("unet", "vae"):
        wanted = dict(getattr(plain, module).named_parameters())
        for name, tensor in getattr(loaded, module).named_parameters():
            assert torch.equal(tensor, wanted[name])
            if tensor.ndim == 4:
                assert tensor.is_contiguous(memory_format=torch.channels_last)
                assert wanted[name].is_contiguous()


# The published configurations (runwayml/stable-diffusion-v1-5, stabilityai/stable-diffusion-2-1,
# stabilityai/stable-diffusion-xl-base-1.0: unet/config.json).
FULL_SIZE = {
    "sd1": {
        "block_out_channels": (320, 640, 1280, 1280),
        "cross_attention_dim": 768,
        "attention_head_dim": (8, 8, 8, 8),
    },
    "sd2": {
        "block_out_channels": (320, 640, 1280, 1280),
        "cross_attention_dim": 1024,
        "attention_head_dim": (5, 10, 20, 20),
        "use_linear_projection": True,
        "upcast_attention": True,
    },
    "sdxl": {
        "block_out_channels": (320, 640, 1280),
        "cross_attention_dim": 2048,
        "attention_head_dim": (5, 10, 20),
        "use_linear_projection": True,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}


@pytest.mark.parametrize("family", FAMILIES)
def test_full_size_configurations_are_read_off_the_shapes(family):
    with torch.device("meta"):
        unet = UNet2DConditionModel(**FULL_SIZE[family])
    layout = ldm_layout.unet_layout(unet.state_dict())
    tensors = ldm_layout.to_ldm(unet.state_dict(), layout)
    assert len(tensors) == {"sd1": 686, "sd2": 686, "sdxl": 1680}[family]
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    arguments = unet_arguments(shapes, family, {})
    for name, value in FULL_SIZE[family].items():
        assert arguments[name] == value, name
    with torch.device("meta"):
        again = UNet2DConditionModel(**arguments)
    assert {key: t.shape for key, t in again.state_dict().items()} == {
        key: t.shape for key, t in unet.state_dict().items()
    }


@pytest.mark.parametrize(
    ("key", "shape"),
    [  # as listed in the file of Stable Diffusion 1.5
        ("input_blocks.0.0.weight", (320, 4, 3, 3)),
        ("input_blocks.3.0.op.weight", (320, 320, 3, 3)),
        ("input_blocks.4.0.skip_connection.weight", (640, 320, 1, 1)),
        ("input_blocks.8.1.transformer_blocks.0.attn2.to_k.weight", (1280, 768)),
        ("input_blocks.8.1.proj_in.weight", (1280, 1280, 1, 1)),
        ("middle_block.2.out_layers.3.weight", (1280, 1280, 3, 3)),
        ("output_blocks.2.1.conv.weight", (1280, 1280, 3, 3)),
        ("output_blocks.5.2.conv.weight", (1280, 1280, 3, 3)),
        ("output_blocks.11.0.in_layers.2.weight", (320, 640, 3, 3)),
        ("output_blocks.11.1.transformer_blocks.0.ff.net.0.proj.weight", (2560, 320)),
        ("time_embed.2.weight", (1280, 1280)),
        ("out.2.bias", (4,)),
    ],
)
def test_keys_of_stable_diffusion_1_5(key, shape):
    with torch.device("meta"):
        unet = UNet2DConditionModel(**FULL_SIZE["sd1"])
    tensors = ldm_layout.to_ldm(unet.state_dict(), ldm_layout.unet_layout(unet.state_dict()))
    assert tuple(tensors[f"model.diffusion_model.{key}"].shape) == shape


def test_tokenizer_is_clips():
    tokenizer = clip_tokenizer()
    assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert tokenizer.pad_token_id == 49407
    padded = pad_with_zero(clip_tokenizer())
    ids = padded("hello!", padding="max_length").input_ids
    assert ids[:5] == [49406, 3306, 256, 49407, 0]
    assert len(ids) == 77
