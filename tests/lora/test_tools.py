"""The tools that make LoRA files of others, each checked against what the model then computes."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lib_rimo.errors import UserError
from lib_rimo.inference.apply import Lora, LoraMerger
from lib_rimo.lora.delta import split_modules
from lib_rimo.lora.description import family_of
from lib_rimo.lora.files import LoraFile, content_hash, read_lora, write_lora
from lib_rimo.lora.tools.card import Card, write_card
from lib_rimo.lora.tools.convert import convert, module_path
from lib_rimo.lora.tools.extract import extract
from lib_rimo.lora.tools.factors import RankLimit, factorize, factorize_product
from lib_rimo.lora.tools.merge import Ingredient, merge
from lib_rimo.lora.tools.resize import resize
from lib_rimo.sd.unet_names import diffusers_module_name, ldm_module_name
from lib_rimo.weights.strength import layer_strength
from lib_rimo.weights.tags import LoraTag, parse_prompt
from tests.sd.narrow import narrow_checkpoint, random_lora, save_checkpoint, unet_output

MIDD = parse_prompt("<lora:x:0.7:MIDD>")[1][0]


def drawn(checkpoint, *files, tags=None):
    """The UNet's output with these files, each at 1 or as its tag says."""
    merger = LoraMerger(checkpoint)
    tags = tags or [LoraTag("x")] * len(files)
    problems = merger.apply([(as_lora(file), tag) for file, tag in zip(files, tags, strict=True)])
    assert not problems
    output = unet_output(checkpoint)
    merger.clear()
    return output


def as_lora(file):
    modules = split_modules(file.tensors)
    return Lora("x", "x", modules, file.metadata, family_of(modules, file.metadata))


def near(a, b):
    torch.testing.assert_close(a, b, atol=2e-4, rtol=2e-4)


@pytest.fixture(scope="module")
def sd1():
    return narrow_checkpoint("sd1")


@given(
    st.integers(1, 6), st.integers(1, 12), st.integers(1, 12), st.sampled_from([(), (1, 1), (3, 3)])
)
def test_a_products_factors_are_those_of_the_whole_change(rank, out, inputs, kernel):
    torch.manual_seed(rank * 1000 + out * 20 + inputs)
    up = torch.randn(out, rank, *[1] * len(kernel))
    down = torch.randn(rank, inputs, *kernel)
    change = (up.flatten(1) @ down.flatten(1)).reshape(out, inputs, *kernel)
    for limit in (RankLimit(), RankLimit(2), RankLimit(error=0.3), RankLimit(8, 1)):
        whole, narrow = factorize(change, limit), factorize_product(up, down, limit)
        products = [f.up.flatten(1) @ f.down.flatten(1) for f in (whole, narrow)]
        torch.testing.assert_close(*products, atol=1e-4, rtol=1e-4)
        lost = float((products[0] - change.flatten(1)).norm() / change.norm())
        assert whole.kept == pytest.approx((1 - lost**2) ** 0.5, abs=1e-3)
        if limit.error is not None:
            assert lost <= limit.error + 1e-4
            if whole.rank > 1:  # and one rank less would not do
                fewer = factorize(change, RankLimit(whole.rank - 1))
                assert (1 - fewer.kept**2) ** 0.5 > limit.error - 1e-4


@pytest.mark.parametrize("kind", ["lora", "loha", "lokr", "dora"])
def test_a_file_resized_without_loss_draws_the_same(sd1, kind):
    tensors, expected = random_lora(sd1, kind, conv=kind == "lora")
    base = LoraMerger(sd1).base_weight
    resized = resize(LoraFile(tensors, {}), RankLimit(), base_of=base)
    near(drawn(sd1, resized.file), expected)
    assert all(kept == pytest.approx(1, abs=1e-5) for kept in resized.kept.values())


def test_a_resized_file_says_what_it_is(sd1):
    tensors, _ = random_lora(sd1, conv=True)
    half = {name: tensor.half() for name, tensor in tensors.items()}
    file = LoraFile(half, {"ss_network_dim": "4", "ss_tag_frequency": "{}"})
    resized = resize(file, RankLimit(2, 1)).file
    assert {tensor.dtype for tensor in resized.tensors.values()} == {torch.float16}
    assert resized.metadata["ss_network_dim"] == "Dynamic"
    assert resized.metadata["ss_training_comment"].startswith("dimension is resized from 4 to")
    downs = [t for name, t in resized.tensors.items() if name.endswith("lora_down.weight")]
    assert {(len(t), t.shape[2:] == (3, 3)) for t in downs} == {(2, False), (1, True)}
    scale = {float(m["alpha"]) / len(m["lora_down.weight"]) for m in split_modules(half).values()}
    again = split_modules(resized.tensors).values()
    assert {float(m["alpha"]) / len(m["lora_down.weight"]) for m in again} == scale


def test_a_form_that_reads_the_base_model_is_refused_without_it(sd1):
    tensors, _ = random_lora(sd1, "dora")
    with pytest.raises(UserError, match="in DoRA"):
        resize(LoraFile(tensors, {}), RankLimit(2))


@pytest.mark.parametrize("kinds", [("lora", "lora"), ("lora", "lokr"), ("dora", "loha")])
@pytest.mark.parametrize("limit", [None, RankLimit(64, 64)])
def test_a_merged_file_draws_what_its_tags_draw_together(sd1, kinds, limit):
    files = [LoraFile(random_lora(sd1, kind, conv=kind == "lora")[0], {}) for kind in kinds]
    tags = [MIDD, LoraTag("x", te=0.5, unet=-0.3)]
    parts = [
        Ingredient(file, "sd1", lambda key, tag=tag: layer_strength(tag, key, "sd1"), "x")
        for file, tag in zip(files, tags, strict=True)
    ]
    merged = merge(parts, "both", limit, base_of=LoraMerger(sd1).base_weight)
    expected = drawn(sd1, *files, tags=tags) if "dora" not in kinds else None
    if expected is None:  # one after the other a DoRA would turn what the first has left
        alone = [resize(f, RankLimit(), base_of=LoraMerger(sd1).base_weight).file for f in files]
        expected = drawn(sd1, *alone, tags=tags)
    near(drawn(sd1, merged), expected)


def test_layers_are_the_same_under_whatever_names(sd1):
    tensors, _ = random_lora(sd1)
    file = LoraFile(tensors, {})
    styles = [convert(file, "sd1", style) for style in ("kohya", "peft", "comfyui")]
    merged = merge([Ingredient(each, "sd1", lambda key: 1 / 3, "x") for each in styles], "all")
    assert len(split_modules(merged.tensors)) == len(split_modules(tensors))
    near(drawn(sd1, merged), drawn(sd1, file))


def test_loras_of_two_families_and_empty_mixtures_are_refused(sd1):
    file = LoraFile(random_lora(sd1)[0], {})
    with pytest.raises(UserError, match="different models"):
        merge([Ingredient(file, family, lambda key: 1, "x") for family in ("sd1", "sdxl")], "x")
    with pytest.raises(UserError, match="nothing would be left"):
        merge([Ingredient(file, "sd1", lambda key: 0, "x")], "x")


def test_what_was_merged_into_a_checkpoint_is_extracted_again(sd1, tmp_path):
    file = LoraFile(random_lora(sd1, conv=True)[0], {})
    save_checkpoint(sd1, tmp_path / "base.safetensors")
    expected = drawn(sd1, file)
    merger = LoraMerger(sd1)
    merger.apply([(as_lora(file), LoraTag("x"))])
    save_checkpoint(sd1, tmp_path / "tuned.safetensors")
    merger.clear()
    paths = tmp_path / "base.safetensors", tmp_path / "tuned.safetensors"
    extracted = extract(*paths, "x", RankLimit(4, 2), dtype=torch.float32)
    near(drawn(sd1, extracted), expected)
    assert split_modules(extracted.tensors).keys() == split_modules(file.tensors).keys()
    assert extracted.metadata["ss_base_model_version"] == "sd_v1"
    without = extract(*paths, "x", RankLimit(4))  # no 3x3 convolutions, as kohya's tool
    assert not any("resnets" in name for name in without.tensors)
    unet_only = extract(*paths, "x", RankLimit(4), min_diff=9)
    assert not any(name.startswith("lora_te") for name in unet_only.tensors)
    with pytest.raises(UserError, match="do not differ"):
        extract(paths[0], paths[0], "x", RankLimit(4))


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_every_style_draws_the_same_and_leads_back(family):
    checkpoint = narrow_checkpoint(family)
    file = LoraFile(random_lora(checkpoint, conv=True)[0], {"ss_base_model_version": family})
    expected = drawn(checkpoint, file)
    for style in ("peft", "comfyui"):
        converted = convert(file, family, style)
        near(drawn(checkpoint, converted), expected)
        back = convert(converted, family, "kohya")
        assert split_modules(back.tensors).keys() == split_modules(file.tensors).keys()


def test_diffusers_loads_the_peft_style(sd1):
    file = LoraFile(random_lora(sd1, conv=True)[0], {})
    converted = convert(file, "sd1", "peft").tensors
    unet = narrow_checkpoint("sd1").unet
    own = {name.removeprefix("unet."): t for name, t in converted.items() if "text_" not in name}
    unet.load_lora_adapter(own, prefix=None)
    sd1_unet, sd1.unet = sd1.unet, unet
    loaded = unet_output(sd1)
    sd1.unet = sd1_unet
    near(loaded, drawn(sd1, file))


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_every_modules_path_is_found_of_its_key(family):
    checkpoint = narrow_checkpoint(family)
    for part in (checkpoint.unet, *checkpoint.text_encoders):
        for name, module in part.named_modules():
            if list(module.parameters(recurse=False)):
                assert module_path(name.replace(".", "_")) == name
                if part is checkpoint.unet:
                    ldm_name = ldm_module_name(name, () if family == "sdxl" else (0,))
                    assert module_path(ldm_name.replace(".", "_")) == ldm_name
                    assert diffusers_module_name(ldm_name) == name


def test_what_a_style_cannot_hold_is_refused(sd1):
    file = LoraFile(random_lora(sd1, "loha")[0], {})
    with pytest.raises(UserError, match="resize"):
        convert(file, "sd1", "peft")
    with pytest.raises(UserError, match="Flux"):
        convert(file, "Flux", "peft")
    beside = {"bundle_emb.word.string_to_param.*": torch.zeros(1, 32)}
    with pytest.raises(UserError, match="word beside the LoRA"):
        convert(LoraFile(file.tensors | beside, {}), "sd1", "comfyui")


def test_a_card_is_written_into_the_file_and_beside_it(sd1, tmp_path):
    path = tmp_path / "x.safetensors"
    tensors, _ = random_lora(sd1)
    write_lora(path, tensors, {"ss_output_name": "x", "mine": "kept"})
    before = content_hash(path)
    path.with_suffix(".json").write_text('{"preferred weight": 0.8, "description": "old"}')
    cover = Image.new("RGB", (1200, 600), "pink")
    write_card(path, Card("Rimo", "rimochan, 1girl", "", cover))
    metadata = read_lora(path).metadata
    assert content_hash(path) == before
    assert metadata["mine"] == "kept"
    assert metadata["ss_output_name"] == metadata["modelspec.title"] == "Rimo"
    assert metadata["modelspec.trigger_phrase"] == "rimochan, 1girl"
    assert "modelspec.description" not in metadata
    (picture,) = json.loads(metadata["ssmd_cover_images"])
    assert metadata["modelspec.thumbnail"] == f"data:image/jpeg;base64,{picture}"
    assert json.loads(path.with_suffix(".json").read_text()) == {
        "preferred weight": 0.8,
        "activation text": "rimochan, 1girl",
        "description": "",
    }


@pytest.mark.parametrize("content", ["{", "[1]", "[" * 100_000])
def test_a_damaged_card_is_not_overwritten(sd1, tmp_path, content):
    path = tmp_path / "x.safetensors"
    write_lora(path, random_lora(sd1)[0], {})
    before = path.read_bytes()
    path.with_suffix(".json").write_text(content)
    with pytest.raises(UserError, match="nothing in it is lost"):
        write_card(path, Card(trigger="x"))
    assert path.read_bytes() == before
    assert path.with_suffix(".json").read_text() == content


def test_a_title_that_no_tag_can_name_is_refused(tmp_path):
    with pytest.raises(UserError, match="name in prompts"):
        write_card(tmp_path / "x.safetensors", Card("a:b"))
