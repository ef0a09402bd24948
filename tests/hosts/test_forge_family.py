"""Block weights act alike in Forge and in its forks, each of which merges in a way of its own."""

import copy
import os
import sys

import pytest

from lib_rimo.hosts.activation import NOTES_KEY
from lib_rimo.hosts.detection import connect
from tests.hosts.fake_forge import FakeErsatzForge, FakeForge
from tests.hosts.fake_forks import FakeClassic, FakeFork, FakeReForge
from tests.hosts.fake_webui import FILES, IN01, IN07, SEED_TAG, Params, everywhere, picture


@pytest.fixture(params=[FakeForge, FakeErsatzForge, FakeFork, FakeReForge, FakeClassic])
def fake(request, tmp_path, monkeypatch):
    fake = request.param(tmp_path, FILES)
    fake.put_into(monkeypatch)
    return fake


def test_the_seed_s_tag_draws_nothing_without_rimo(fake):
    assert fake.draw(SEED_TAG)[0] == everywhere(0)


def test_the_seed_s_tag(fake, host):
    drawn, p = fake.draw(SEED_TAG)
    assert drawn == everywhere(IN07=8, IN08=2)
    assert (p.comments, p.extra_generation_params) == ([], {})


def test_a_refiner_s_tags_that_the_host_makes_anew_keep_their_blocks(fake, host):
    """As Forge Neo has it, which may name another LoRA for the second model, too."""
    p = picture("")
    tags = fake.activate(p, ["<lora:rimochan:1:IN07@0.5,IN08@R><lora:rimochan:1:NONE:start=1>"])
    first = fake.use()
    for name, strength in (("rimochan", 10), ("other", 1)):
        anew = [Params([name, *tag.items[1:]]) for tag in copy.deepcopy(tags)]
        fake.activate_tags(p, anew)
        drawn = fake.use()
        assert drawn[IN07] == 100 + strength / 2
        assert (drawn == first) == (name == "rimochan")
    assert p.comments == []


def test_other_blocks_are_another_picture(fake, host):
    for strength in (0.8, 0.3, 0.0):
        drawn, _ = fake.draw(f"<lora:rimochan:1:IN07@{strength}>")
        assert drawn == everywhere(IN07=10 * strength)
    assert fake.draw("<lora:rimochan:1>")[0] == everywhere()
    assert fake.draw("")[0] == everywhere(0)


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
    drawn, _ = fake.draw("<lora:rimochan:0><lora:other:1><lora:rimochan:0.5:IN07@0>")
    assert drawn == everywhere(5, BASE=6, IN07=1)
    drawn, _ = fake.draw("<lora:other:0><lora:rimochan:0.2><lora:rimochan:0.5:IN07@0>")
    assert drawn == everywhere(7, IN07=2)


@pytest.mark.parametrize(
    ("tags", "added"),
    [
        ("<lora:rimochan:0@0,1@1><lora:rimochan:0@0,3@1>", [0, 20, 40]),
        ("<lora:rimochan:0@0,1@1><lora:rimochan:1@0,0@1>", [10, 10, 10]),
        ("<lora:rimochan:0.5><lora:rimochan:0@0,1@1>", [5, 10, 15]),
        ("<lora:rimochan:1:start=11><lora:rimochan:1:start=11>", [0, 20, 20]),
        ("<lora:rimochan:0.5:IN08@0><lora:rimochan:0.5:IN08@0>", [10, 10, 10]),
    ],
)
def test_so_does_each_where_their_strengths_are_equal(fake, host, tags, added):
    fake.draw(tags, steps=22)
    drawn = []
    for steps_done in (0, 11, 21):
        fake.step(steps_done, steps=22)
        drawn.append(fake.use()[IN07] - 100)
    assert drawn == added


def test_a_strength_that_begins_at_0_grows(fake, host):
    assert fake.draw("<lora:rimochan:0@0,1@1>")[0] == everywhere(0)
    fake.step(10)
    assert fake.weights()[IN07] > 100


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


def test_start_and_stop(fake, host):
    for _ in range(2):  # the second picture's LoRAs are the first's, which stay loaded
        fake.draw("<lora:rimochan:1:IN07@0.5:step=2-4>")
        at = []
        for step in range(6):
            fake.step(step)
            at.append(fake.weights())
        off, on = everywhere(0, BASE=10), everywhere(IN07=5)
        assert at == [off, off, on, on, off, off]
    assert fake.draw("<lora:rimochan:1:IN07@0.5>")[0] == everywhere(IN07=5)


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
    fake.step(3)
    assert fake.draw("")[0] == everywhere(0)


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


def test_uninstalling_puts_the_host_s_functions_back(fake):
    network = sys.modules["extra_networks_lora"].ExtraNetworkLora

    def functions():
        return network.activate, fake.networks.load_networks, fake.merge_function()

    own = functions()
    for _ in range(2):  # "Reload UI"
        host = connect()
        host.install()
        assert fake.draw(SEED_TAG)[0] == everywhere(IN07=8, IN08=2)
        fake.run("script_unloaded")
        fake.callbacks.clear()
    assert functions() == own
    assert fake.draw("<lora:rimochan:1>")[0] == everywhere()
