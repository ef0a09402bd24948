import pytest

from tests.hosts.fake_forge import FakeForge
from tests.hosts.fake_webui import BASE, FILES, IN07, LAYERS, SEED_TAG, everywhere, picture

ONES = ",".join("1" * 17)


@pytest.fixture
def fake(tmp_path, monkeypatch):
    fake = FakeForge(tmp_path, FILES)
    fake.put_into(monkeypatch)
    return fake


def test_without_block_tags_the_host_gets_what_the_prompt_says(fake, host):
    fake.draw("<lora:rimochan:0.5:0.25><lora:other:1>")
    folder = fake.folder
    assert fake.model.current_lora_hash == str(
        [
            [str(folder / "rimochan.pt"), 0.25, 0.5, False],
            [str(folder / "other.pt"), 1.0, 1.0, False],
        ]
    )


def test_all_ones_are_the_plain_tag(fake, host):
    plain, _ = fake.draw("<lora:rimochan:0.7>")
    fake.merges()
    assert fake.draw(f"<lora:rimochan:0.7:{ONES}>")[0] == plain
    assert fake.merges() == {}


def test_only_weights_whose_strength_changed_are_merged_again(fake, host):
    fake.draw("<lora:rimochan:1:IN07@0.8>")
    fake.merges()
    assert fake.draw("<lora:rimochan:1:IN07@0.3>")[0] == everywhere(IN07=3)
    assert fake.merges() == {IN07: 1}
    assert fake.draw("<lora:rimochan:1>")[0] == everywhere()
    assert fake.merges() == {IN07: 1}
    assert fake.draw("")[0] == everywhere(0)


def test_a_file_is_not_loaded_again_for_other_blocks(fake, host):
    fake.draw("<lora:rimochan:1:IN07@0.8>")
    fake.networks.load_lora_state_dict = None  # to load would fail
    assert fake.draw("<lora:rimochan:1:IN07@0.3>")[0] == everywhere(IN07=3)
    assert fake.draw("<lora:rimochan:1:BASE@0.5>")[0] == everywhere(BASE=5)
    assert fake.draw("<lora:rimochan:1>")[0] == everywhere()


def test_a_text_encoder_is_not_merged_for_the_u_net_s_blocks(fake, host):
    fake.draw("<lora:rimochan:1:BASE@0.5,IN07@0.8>")
    text_encoder = fake.model.forge_objects_after_applying_lora.clip
    fake.draw("<lora:rimochan:1:BASE@0.5,IN07@0.3>")
    assert fake.model.forge_objects_after_applying_lora.clip is text_encoder


def test_a_refiner_which_uses_what_is_loaded_has_the_blocks(fake, host):
    fake.activate(picture(""), ["<lora:rimochan:1:BASE@0.5,IN07@0.8>"])
    loaded, begun_with = fake.model.forge_objects, fake.model.forge_objects_after_applying_lora
    assert (loaded.unet, loaded.clip) == (begun_with.unet, begun_with.clip)


def test_another_extension_s_loading_has_no_blocks(fake, host):
    fake.draw("<lora:rimochan:1:IN07@0.8>")
    fake.networks.load_networks(["rimochan"], [1.0], [1.0], [None])
    assert fake.use() == everywhere()


def test_without_blocks_merging_is_the_host_s_affair(fake, host):
    fake.draw("<lora:rimochan:1>")
    fake.merges()
    fake.draw("<lora:rimochan:1><lora:other:1>")
    assert fake.merges() == dict.fromkeys(LAYERS, 1)


def test_another_lora_beside_is_merged_where_it_is(fake, host):
    fake.draw("<lora:rimochan:1:IN08@0.8>")
    fake.merges()
    assert fake.draw("<lora:rimochan:1:IN08@0.8><lora:other:1>")[0] == everywhere(
        BASE=11, IN07=11, IN08=8
    )
    assert fake.merges() == {BASE: 1, IN07: 1}


def test_the_same_tags_again_merge_nothing(fake, host):
    first, _ = fake.draw(SEED_TAG)
    fake.merges()
    assert fake.draw(SEED_TAG)[0] == first
    assert fake.merges() == {}


@pytest.mark.parametrize("tag", ["<lora:rimochan:1:1:4>", "<lora:rimochan:1:IN07@0.5:dyn=4>"])
def test_what_forge_does_not_have_is_said(fake, host, tag):
    _, p = fake.draw(tag)
    assert p.comments == ["rimochan: Forge has no dyn=, so all of the LoRA's ranks act."]


def test_lyco_tags_are_lora_tags(fake, host):
    fake.run("before_ui")
    assert fake.aliases == {"lyco": "the Lora extension"}


def test_a_forced_refresh_merges_everything(fake, host):
    fake.draw("<lora:rimochan:1:IN07@0.5>")
    fake.merges()
    unet = fake.model.forge_objects_after_applying_lora.unet
    unet.lora_loader.refresh(lora_patches=unet.lora_patches, force_refresh=True)
    assert set(fake.merges()) == set(LAYERS) - {BASE}
    assert fake.weights() == everywhere(IN07=5)


def test_a_failed_merge_leaves_the_model_restorable(fake, host, monkeypatch):
    fake.draw("<lora:rimochan:1:IN07@0.5>")
    fake.activate(picture(""), ["<lora:rimochan:1:IN07@0.1>"])
    unet = fake.model.forge_objects_after_applying_lora.unet
    broken = {
        identity: {**patches, "gone": patches[IN07]}
        for identity, patches in unet.lora_patches.items()
    }
    with pytest.raises(KeyError):
        unet.lora_loader.refresh(lora_patches=broken)
    assert fake.draw("<lora:rimochan:1:IN07@0.2>")[0] == everywhere(IN07=2)
    assert fake.draw("")[0] == everywhere(0)


def test_strength_over_the_steps(fake, host):
    fake.draw("<lora:rimochan:0@0,1@1>", steps=22)
    drawn = []
    for steps_done in (0, 11, 21):
        fake.step(steps_done, steps=22)
        drawn.append(fake.use()[IN07])
    assert drawn == [100, 105, 110]
