import os
import sys

import pytest

from lib_rimo.hosts.activation import NOTES_KEY
from lib_rimo.hosts.forge import Forge
from tests.hosts.fake_forge import FakeForge, LoraLoader
from tests.hosts.fake_webui import BASE, IN01, IN07, LAYERS, picture, weights

SEED_TAG = "<lora:rimochan:1:1,1,1,1,1,0.8,0.2,1,1,1,1,1,1,1,1,1,1>"
ONES = ",".join("1" * 17)


@pytest.fixture
def fake(tmp_path, monkeypatch):
    files = {"rimochan": dict.fromkeys(LAYERS, 10.0), "other": {BASE: 1.0, IN07: 1.0}}
    fake = FakeForge(tmp_path, files)
    fake.put_into(monkeypatch)
    return fake


@pytest.fixture
def host(fake):
    host = Forge()
    host.install()
    yield host
    host.uninstall()


def everywhere(strength=10.0, **changed):
    return weights(strength, **changed)


def test_the_seed_s_tag_draws_nothing_without_rimo(fake):
    assert fake.draw(SEED_TAG)[0] == everywhere(0)


def test_the_seed_s_tag(fake, host):
    drawn, p = fake.draw(SEED_TAG)
    assert drawn == everywhere(IN07=8, IN08=2)
    assert (p.comments, p.extra_generation_params) == ([], {})


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


def test_text_encoder_and_unet_have_strengths_of_their_own(fake, host):
    drawn, _ = fake.draw("<lora:rimochan:0.5:2:BASE@0.5,IN07@0.1>")
    assert drawn == everywhere(20, BASE=2.5, IN07=2)


def test_several_loras_at_once(fake, host):
    drawn, _ = fake.draw("<lora:other:1><lora:rimochan:1:IN07@0.5>")
    assert drawn == everywhere(BASE=11, IN07=6)


def test_each_tag_of_one_lora_acts_for_itself(fake, host):
    drawn, _ = fake.draw("<lora:rimochan:0.5:IN07@0><lora:rimochan:0.5:IN08@0>")
    assert drawn == everywhere(IN07=5, IN08=5)
    drawn, _ = fake.draw("<lora:rimochan:0.5:IN07@0><lora:rimochan:0.5>")
    assert drawn == everywhere(IN07=5)


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


@pytest.mark.parametrize("wrong", ["<lora:other:1:1,2>", "<lora:nix:1>", "<lora:torn:1>"])
def test_a_wrong_tag_costs_itself_only(fake, host, wrong):
    torn = fake.folder / "torn.safetensors"
    torn.write_bytes(b"not a file of tensors")
    entry = type(fake.networks.available_networks["other"])(filename=str(torn))
    fake.networks.available_network_aliases["torn"] = entry
    drawn, p = fake.draw(f"<lora:rimochan:1:IN07@0.5>{wrong}")
    assert drawn == everywhere(IN07=5)
    (note,) = p.comments
    assert note.startswith(f"{wrong} was left out: ")
    assert p.extra_generation_params[NOTES_KEY] == note
    assert torn.exists()


@pytest.mark.parametrize("tag", ["<lora:rimochan:1:1:4>", "<lora:rimochan:1:IN07@0.5:dyn=4>"])
def test_what_forge_does_not_have_is_said(fake, host, tag):
    _, p = fake.draw(tag)
    assert p.comments == ["rimochan: Forge has no dyn=, so all of the LoRA's ranks act."]


def test_lyco_tags_are_lora_tags(fake, host):
    fake.run("before_ui")
    assert fake.aliases == {"lyco": "the Lora extension"}


def test_start_and_stop(fake, host):
    fake.draw("<lora:rimochan:1:IN07@0.5:step=2-4>")
    at = []
    for step in range(6):
        fake.step(step)
        at.append(fake.weights())
    off, on = everywhere(0, BASE=10), everywhere(IN07=5)
    assert at == [off, off, on, on, off, off]


def test_steps_of_one_tag_leave_another_of_the_same_file_alone(fake, host):
    fake.draw("<lora:rimochan:0.5><lora:rimochan:1:BASE@0:stop=1>")
    at = []
    for step in range(2):
        fake.step(step)
        at.append(fake.weights())
    assert at == [everywhere(15, BASE=5), everywhere(5)]


def test_steps_leave_nothing_over(fake, host):
    fake.draw("<lora:rimochan:1:stop=1>")
    fake.step(3)
    assert fake.draw("<lora:rimochan:1>")[0] == everywhere()
    fake.draw("<lora:rimochan:1:stop=1>")
    fake.step(3)
    assert fake.draw("<lora:rimochan:1:stop=1>")[0] == everywhere()


def test_the_second_pass_has_its_own_tags(fake, host):
    _, p = fake.draw("<lora:rimochan:1:IN07@0.5>")
    p.is_hr_pass = True
    fake.activate(p, ["<lora:rimochan:1:IN07@0.1>"])
    assert fake.use() == everywhere(IN07=1)


def test_a_replaced_file_is_read_again(fake, host):
    fake.draw("<lora:rimochan:1:IN07@0.5>")
    fake.deltas["rimochan"][IN01] = 50.0
    os.utime(fake.networks.available_networks["rimochan"].filename, (1, 1))
    assert fake.draw("<lora:rimochan:1:IN07@0.5>")[0] == everywhere(IN01=50, IN07=5)
    assert fake.reads == ["rimochan", "rimochan"]


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


def test_uninstalling_puts_the_host_s_functions_back(fake):
    network = sys.modules["extra_networks_lora"].ExtraNetworkLora

    def functions():
        return network.activate, fake.networks.load_networks, LoraLoader.refresh

    own = functions()
    for _ in range(2):  # "Reload UI"
        host = Forge()
        host.install()
        assert fake.draw(SEED_TAG)[0] == everywhere(IN07=8, IN08=2)
        fake.run("script_unloaded")
        fake.callbacks.clear()
    assert functions() == own
    assert fake.draw("<lora:rimochan:1>")[0] == everywhere()


def test_strength_over_the_steps(fake, host):
    fake.draw("<lora:rimochan:0@0,1@1>", steps=22)
    drawn = []
    for steps_done in (0, 11, 21):
        fake.step(steps_done, steps=22)
        drawn.append(fake.use()[IN07])
    assert drawn == [100, 105, 110]
