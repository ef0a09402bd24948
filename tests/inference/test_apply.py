import hashlib
import logging
from contextlib import suppress
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from lib_rimo.errors import UserError
from lib_rimo.inference.apply import LoraFolder, LoraMerger, load_lora
from lib_rimo.inference.generation import lora_hash
from lib_rimo.lora.bake import bake
from lib_rimo.lora.description import family_of
from lib_rimo.lora.files import LoraFile, read_lora, write_lora
from lib_rimo.lora.keys import text_encoder_key, text_encoder_prefixes, unet_key
from lib_rimo.sd.unet_names import ldm_module_name
from lib_rimo.weights.grammar import parse_blocks
from lib_rimo.weights.strength import layer_strength
from lib_rimo.weights.tags import LoraTag, parse_prompt
from tests.sd.narrow import narrow_checkpoint, random_lora, text_output, unet_output

V2 = {"ss_base_model_version": "sd_v2", "ss_v2": "True"}
VECTOR = "0.5,1,1,1,1,0.8,0.2,1,0,1,1,-0.3,1,1,1,1,1"
TYPES = ("lora", "loha", "lokr", "dora")


@pytest.fixture(scope="module")
def sd1():
    return narrow_checkpoint("sd1")


@pytest.fixture
def merger(sd1):
    merger = LoraMerger(sd1)
    yield merger
    merger.clear()


def write(path, checkpoint, network_type="lora", **options):
    tensors, output = random_lora(checkpoint, network_type, **options)
    write_lora(path, tensors, {"ss_output_name": "rimochan", "ss_v2": "False"})
    return load_lora(path), output


def tags(text):
    return parse_prompt(text)[1]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("conv", [False, True])
@pytest.mark.parametrize("network_type", TYPES)
def test_a_merged_lora_is_what_was_trained(tmp_path, sd1, merger, network_type, conv):
    plain = unet_output(sd1)
    lora, trained = write(tmp_path / "x.safetensors", sd1, network_type, conv=conv)
    assert merger.apply([(lora, LoraTag("x"))]) == ()
    torch.testing.assert_close(unet_output(sd1), trained, rtol=1e-4, atol=1e-4)
    assert (trained - plain).abs().max() > 0.01
    merger.clear()
    assert torch.equal(unet_output(sd1), plain)


@pytest.mark.parametrize("family", ["sd2", "sdxl"])
def test_the_other_families_merge_too(tmp_path, family):
    checkpoint = narrow_checkpoint(family)
    lora, trained = write(tmp_path / "x.safetensors", checkpoint, conv=True)
    before = text_output(checkpoint)
    assert LoraMerger(checkpoint).apply([(lora, LoraTag("x"))]) == ()
    torch.testing.assert_close(unet_output(checkpoint), trained, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(text_output(checkpoint), before)


def diffusers_pipeline(checkpoint):
    from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline

    parts = {"unet": checkpoint.unet, "vae": checkpoint.vae, "scheduler": DDIMScheduler()}
    for number, (encoder, tokenizer) in enumerate(
        zip(checkpoint.text_encoders, checkpoint.tokenizers, strict=True), 1
    ):
        ending = "" if number == 1 else f"_{number}"
        parts |= {f"text_encoder{ending}": encoder, f"tokenizer{ending}": tokenizer}
    if checkpoint.family == "sdxl":
        return StableDiffusionXLPipeline(**parts)
    return StableDiffusionPipeline(
        **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("family", "conv"), [("sd1", False), ("sd1", True), ("sd2", True), ("sdxl", True)]
)
def test_diffusers_applies_the_same_file_the_same_way(tmp_path, family, conv, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("diffusers"), "propagate", True)
    path = tmp_path / "x.safetensors"
    checkpoint = narrow_checkpoint(family)
    lora, _ = write(path, checkpoint, conv=conv)
    merger = LoraMerger(checkpoint)
    merger.apply([(lora, LoraTag("x"))])
    ours, our_text = unet_output(checkpoint), text_output(checkpoint)
    merger.clear()
    with caplog.at_level(logging.WARNING, logger="diffusers"):
        diffusers_pipeline(checkpoint).load_lora_weights(str(path))
    assert not [text for text in caplog.messages if "unexpected" in text.lower()]
    torch.testing.assert_close(unet_output(checkpoint), ours, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(text_output(checkpoint), our_text, rtol=1e-4, atol=1e-4)


def test_strength_0_is_no_lora_at_all(tmp_path, sd1, merger):
    plain, plain_text = unet_output(sd1), text_output(sd1)
    lora, _ = write(tmp_path / "x.safetensors", sd1)
    for text in ("<lora:x:0>", "<lora:x:1:NONE>"):
        merger.apply([(lora, tag) for tag in tags(text)])
        assert torch.equal(unet_output(sd1), plain)
        assert torch.equal(text_output(sd1), plain_text)
    assert merger.merged_layers == 0


def test_text_encoder_and_unet_have_their_own_strengths(tmp_path, sd1, merger):
    plain, plain_text = unet_output(sd1), text_output(sd1)
    lora, _ = write(tmp_path / "x.safetensors", sd1)
    merger.apply([(lora, LoraTag("x", te=0, unet=1))])
    assert torch.equal(text_output(sd1), plain_text)
    assert not torch.equal(unet_output(sd1), plain)
    merger.apply([(lora, LoraTag("x", te=1, unet=0))])
    assert not torch.equal(text_output(sd1), plain_text)
    assert torch.equal(unet_output(sd1), plain)


def test_a_block_weight_changes_its_block_alone(tmp_path, sd1, merger):
    lora, _ = write(tmp_path / "x.safetensors", sd1)
    merger.apply([(lora, tag) for tag in tags("<lora:x:1>")])
    weights = {name: p.clone() for name, p in sd1.unet.named_parameters()}
    before = merger.merged_layers
    merger.apply([(lora, tag) for tag in tags("<lora:x:1:IN07@0.5>")])
    changed = {
        name.split(".transformer_blocks")[0].rsplit(".proj", 1)[0]
        for name, p in sd1.unet.named_parameters()
        if not torch.equal(weights[name], p)
    }
    assert changed == {"down_blocks.2.attentions.0"}
    in_block = sum(key.startswith("lora_unet_down_blocks_2_attentions_0_") for key in lora.modules)
    assert merger.merged_layers - before == in_block  # nothing else was merged again


def test_steps_switch_the_unet_only(tmp_path, sd1, merger):
    plain = unet_output(sd1)
    lora, _ = write(tmp_path / "x.safetensors", sd1)
    loras = [(lora, tag) for tag in tags("<lora:x:1:step=2-4>")]
    merger.apply(loras, steps_done=0)
    assert torch.equal(unet_output(sd1), plain)
    text = text_output(sd1)
    merger.apply(loras, steps_done=2)
    assert not torch.equal(unet_output(sd1), plain)
    assert torch.equal(text_output(sd1), text)
    merger.apply(loras, steps_done=4)
    assert torch.equal(unet_output(sd1), plain)


def test_several_loras_add_up(tmp_path, sd1, merger):
    lora, _ = write(tmp_path / "x.safetensors", sd1)
    other, _ = write(tmp_path / "y.safetensors", sd1)
    merger.apply([(lora, LoraTag("x", 0.25, 0.25)), (other, LoraTag("y", 0.75, 0.75))])
    both = unet_output(sd1)
    merger.apply([(lora, LoraTag("x"))])
    torch.testing.assert_close(both, unet_output(sd1), rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("conv", [False, True])
@pytest.mark.parametrize("network_type", TYPES)
def test_plain_use_of_a_baked_file_is_the_weighted_use_to_the_last_bit(
    tmp_path, sd1, merger, network_type, conv
):
    lora, _ = write(tmp_path / "x.safetensors", sd1, network_type, conv=conv)
    tag = LoraTag("x", blocks=parse_blocks(VECTOR))
    baked = bake(
        read_lora(lora.path),
        lambda key: layer_strength(tag, key, "sd1"),
        VECTOR,
        merger.base_weight,
    )
    write_lora(tmp_path / "baked.safetensors", baked.tensors, baked.metadata)
    merger.apply([(lora, tag)])
    weighted, weighted_text = unet_output(sd1), text_output(sd1)
    weights = {name: p.clone() for name, p in sd1.unet.named_parameters()}
    merger.apply([(load_lora(tmp_path / "baked.safetensors"), LoraTag("baked"))])
    assert all(torch.equal(weights[name], p) for name, p in sd1.unet.named_parameters())
    assert torch.equal(unet_output(sd1), weighted)
    assert torch.equal(text_output(sd1), weighted_text)


def test_a_lora_of_another_family_costs_its_own_tag_only(tmp_path, sd1, merger):
    foreign, _ = write(tmp_path / "foreign.safetensors", narrow_checkpoint("sdxl"))
    own, trained = write(tmp_path / "own.safetensors", sd1)
    plain = unet_output(sd1)
    messages = merger.apply([(foreign, LoraTag("foreign")), (own, LoraTag("own"))])
    assert [*map(str, messages)] == [
        "foreign was left out: it was made for SDXL, the model is SD1."
    ]
    torch.testing.assert_close(unet_output(sd1), trained, rtol=1e-4, atol=1e-4)
    merger.clear()
    assert torch.equal(unet_output(sd1), plain)


def test_layers_of_other_widths_are_refused(tmp_path, sd1, merger):
    own, _ = write(tmp_path / "own.safetensors", sd1)
    wide = {
        key: {name: torch.cat([t, t]) if name == "lora_up.weight" else t for name, t in m.items()}
        for key, m in own.modules.items()
    }
    plain = unet_output(sd1)
    messages = merger.apply([(replace(own, modules=wide), LoraTag("own"))])
    assert [*map(str, messages)] == ["own was left out: its layers are not this model's."]
    assert torch.equal(unet_output(sd1), plain)


def test_a_folder_finds_loras_by_file_and_by_trained_name(tmp_path, sd1):
    (tmp_path / "below").mkdir()
    write(tmp_path / "below" / "v1.safetensors", sd1)
    folder = LoraFolder(tmp_path)
    first = folder.find("v1")
    assert folder.find("rimochan") is first
    assert folder.find("V1") is first
    with pytest.raises(UserError, match=r'no LoRA "x" .*there is v1'):
        folder.find("x")
    save_file({"lora_unet_x.diff": torch.zeros(1)}, tmp_path / "below" / "v1.safetensors")
    assert folder.find("v1") is not first


def test_a_file_in_no_known_form_is_refused(tmp_path):
    save_file({"lora_unet_x.oft_nothing": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match=r"x.safetensors cannot be used: .*oft_nothing"):
        load_lora(tmp_path / "x.safetensors")


def test_baking_says_what_was_baked_and_drops_what_is_0():
    file = LoraFile(
        {
            "lora_unet_mid_block_attentions_0_proj_in.diff": torch.ones(2, 2),
            "lora_te_text_model_encoder_layers_0_mlp_fc1.diff": torch.ones(2, 2),
        },
        {"ss_output_name": "x"},
    )
    tag = LoraTag("x", blocks=parse_blocks("BASE@0,M00@0.5"))
    baked = bake(file, lambda key: layer_strength(tag, key, "sd1"), "BASE@0,M00@0.5")
    assert list(baked.tensors) == ["lora_unet_mid_block_attentions_0_proj_in.diff"]
    again = bake(baked, lambda key: 0.5, "all")
    assert again.metadata["rimo_baked_weights"] == '["BASE@0,M00@0.5", "all"]'
    assert again.metadata["ss_output_name"] == "x"
    assert again.tensors["lora_unet_mid_block_attentions_0_proj_in.diff"].eq(0.25).all()
    with pytest.raises(UserError, match="nothing would be left"):
        bake(file, lambda key: 0.0, "none")


def test_ldm_names_mean_the_same_layers_in_sd1(tmp_path, sd1, merger):
    lora, trained = write(tmp_path / "x.safetensors", sd1, conv=True)
    paths = {unet_key("sd1", name): name for name, _ in sd1.unet.named_modules() if name}
    renamed = {}
    for key, tensors in lora.modules.items():
        if key in paths:
            ldm_name = ldm_module_name(paths[key], up_blocks_without_attention=(0,))
            key = "lora_unet_" + ldm_name.replace(".", "_")
        renamed[key] = tensors
    assert "lora_unet_output_blocks_2_1_conv" in renamed
    merger.apply([(replace(lora, modules=renamed), LoraTag("x"))])
    torch.testing.assert_close(unet_output(sd1), trained, rtol=1e-4, atol=1e-4)


PROCESSOR = {
    "to_q": "to_q_lora",
    "to_k": "to_k_lora",
    "to_v": "to_v_lora",
    "to_out.0": "to_out_lora",
}


def in_style(style, module, part, *, text="", without_attention=(0,)):
    """A tensor's name as another program writes it; `text` names the text encoder's number."""
    matrix = {"lora_down.weight": "A", "lora_up.weight": "B"}[part]
    way = {"A": "down", "B": "up"}[matrix]
    owner = "unet" if not text else {"1": "text_encoder", "2": "text_encoder_2"}[text]
    if style == "peft":
        return f"{owner}.{module}.lora_{matrix}.weight"
    if style == "diffusers":
        attention, _, layer = module.rpartition(".attn")
        number, _, layer = layer.partition(".")
        if not text and attention and layer in PROCESSOR:
            return f"unet.{attention}.attn{number}.processor.{PROCESSOR[layer]}.{way}.weight"
        return f"{owner}.{module}.{'lora_linear_layer' if text else 'lora'}.{way}.weight"
    if style == "comfyui":
        if text:
            return f"text_encoders.clip_{'lg'[int(text) - 1]}.transformer.{module}.{part}"
        return f"diffusion_model.{ldm_module_name(module, without_attention)}.lora.{way}.weight"
    name = module.replace(".", "_")
    return f"lycoris_{name}.{part}"


@pytest.mark.parametrize("style", ["peft", "diffusers", "comfyui", "lycoris"])
@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_other_programs_names_mean_the_same_layers(tmp_path, family, style):
    checkpoint = narrow_checkpoint(family)
    tensors, trained = random_lora(checkpoint)
    names = {}
    for module, _ in checkpoint.unet.named_modules():
        with suppress(ValueError, KeyError):
            names[unet_key(family, module)] = (module, "")
    prefixes = text_encoder_prefixes(family)
    for number, (prefix, encoder) in enumerate(
        zip(prefixes, checkpoint.text_encoders, strict=True), 1
    ):
        for module, _ in encoder.named_modules():
            path = "text_model." + module.removeprefix("text_model.")
            names[text_encoder_key(prefix, module)] = (path, str(number))
    renamed = {}
    for name, tensor in tensors.items():
        key, _, part = name.partition(".")
        if part == "alpha":
            continue
        module, text = names[key]
        if style == "lycoris" and text == "2":
            renamed[name] = tensor
        else:
            scale = 0.5 if part == "lora_up.weight" else 1  # alpha 2, rank 4
            name = in_style(
                style,
                module,
                part,
                text=text,
                without_attention=(0,) if family == "sd1" else (),
            )
            renamed[name] = tensor.float() * scale
    if style == "lycoris" and family == "sdxl":
        renamed |= {
            name: tensor
            for name, tensor in tensors.items()
            if name.startswith("lora_te2") and name.endswith("alpha")
        }
    save_file(renamed, tmp_path / "x.safetensors")
    merger = LoraMerger(checkpoint)
    write_lora(tmp_path / "y.safetensors", tensors, {})
    merger.apply([(load_lora(tmp_path / "y.safetensors"), LoraTag("y"))])
    text = text_output(checkpoint)
    assert merger.apply([(load_lora(tmp_path / "x.safetensors"), LoraTag("x"))]) == ()
    torch.testing.assert_close(unet_output(checkpoint), trained, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(text_output(checkpoint), text, rtol=1e-4, atol=1e-4)


def test_an_embedding_beside_a_lora_does_not_cost_it(tmp_path, sd1, merger):
    tensors, trained = random_lora(sd1)
    embedding = {"bundle_emb.word.string_to_param.*": torch.zeros(2, 32)}
    save_file(tensors | embedding, tmp_path / "x.safetensors")
    lora = load_lora(tmp_path / "x.safetensors")
    assert lora.embeddings == ("word",)
    assert merger.apply([(lora, LoraTag("x"))]) == ()
    torch.testing.assert_close(unet_output(sd1), trained, rtol=1e-4, atol=1e-4)
    baked = bake(read_lora(lora.path), lambda key: 0.5, "half")
    assert "bundle_emb.word.string_to_param.*" in baked.tensors


def test_the_hash_is_that_of_the_files_own_order(tmp_path, sd1):
    tensors, _ = random_lora(sd1)
    path = tmp_path / "x.safetensors"
    save_file(tensors, path)
    content = path.read_bytes()
    behind_header = content[8 + int.from_bytes(content[:8], "little") :]
    assert lora_hash(load_lora(path)) == hashlib.sha256(behind_header).hexdigest()[:12]


@pytest.mark.parametrize("name", ["v1.safetensors", "below/v1", "below\\v1", " v1 ", '"v1"'])
def test_a_folder_finds_what_people_write(tmp_path, sd1, name):
    (tmp_path / "below").mkdir()
    write(tmp_path / "below" / "v1.safetensors", sd1)
    (tmp_path / "dangling.safetensors").symlink_to(tmp_path / "gone")
    assert LoraFolder(tmp_path).find(name).name == "v1"


def test_a_near_name_is_suggested(tmp_path, sd1):
    write(tmp_path / "rimochan.safetensors", sd1)
    (tmp_path / "dangling.safetensors").symlink_to(tmp_path / "gone")
    with pytest.raises(UserError, match='did you mean "rimochan"'):
        LoraFolder(tmp_path).find("rimochna")
    with pytest.raises(UserError, match="there is rimochan"):
        LoraFolder(tmp_path).find("x" * 400)


@pytest.mark.parametrize(
    ("keys", "metadata", "family"),
    [
        (["lora_unet_down_blocks_0_attentions_0_proj_in"], {}, "sd1"),
        (["lora_unet_down_blocks_0_attentions_0_proj_in"], V2, "sd2"),
        (["lora_unet_input_blocks_4_1_proj_in"], {}, "sdxl"),
        (["lora_unet_input_blocks_4_1_proj_in"], {"ss_base_model_version": "sd_v1"}, "sd1"),
        (["lora_te2_text_model_encoder_layers_0_mlp_fc1"], {}, "sdxl"),
        (["lora_unet_mid_block_attn2_to_k"], {}, "sd2"),
    ],
)
def test_families_are_told_by_layers_and_metadata(keys, metadata, family):
    tensors = {"lora_up.weight": torch.zeros(1, 1), "lora_down.weight": torch.zeros(1, 1024)}
    assert family_of(dict.fromkeys(keys, tensors), metadata) == family
