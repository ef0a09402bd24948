from types import SimpleNamespace

import pytest

from lib_rimo.hosts.activation import NOTES_KEY
from tests.hosts.fake_forks import FakeClassic, FakeFork, FakeReForge
from tests.hosts.fake_webui import FILES, everywhere, picture


@pytest.fixture(params=[FakeFork, FakeReForge, FakeClassic])
def fake(request, tmp_path, monkeypatch):
    fake = request.param(tmp_path, FILES)
    fake.put_into(monkeypatch)
    return fake


def test_plain_tags_are_the_host_s_affair(fake, host):
    drawn, _ = fake.draw("<lora:rimochan:0.5:0.25><lora:other:1>")
    assert drawn == everywhere(2.5, BASE=6, IN07=3.5)
    assert "*" not in fake.model.current_lora_hash


def test_strengths_over_the_steps(fake, host):
    tags = "<lora:rimochan:0@0,1@1><lora:other:0@0,3@1><lora:other:1:BASE@0>"
    assert fake.draw(tags)[0] == everywhere(0, IN07=1)
    fake.step(6, 10)
    assert fake.weights() == everywhere(6.25, BASE=0, IN07=6.25 + 1.875 + 1)
    fake.step(9, 10)
    assert fake.weights() == everywhere(10, BASE=0, IN07=14)


def test_flux_is_told_by_its_blocks(fake, host):
    assert host.family == "sd1"
    fake.model.forge_objects.unet.model.diffusion_model = SimpleNamespace(double_blocks=[])
    assert host.family == "Flux"


def test_a_quantised_model_that_takes_whole_loras_is_noticed(fake, host):
    fake.takes_whole_loras = True
    _, p = fake.draw("<lora:rimochan:1:IN07@0.5><lora:other:1>")
    (note,) = p.comments
    assert note.startswith("rimochan: block weights do not act on this quantised model")
    assert p.extra_generation_params[NOTES_KEY] == note


def test_merging_that_goes_round_is_noticed_once_the_layers_were_used(fake, host):
    p = picture("")
    fake.activate(p, ["<lora:rimochan:1:IN07@0.5>"])  # and nobody merges
    fake.step(0)
    fake.step(1)
    assert p.comments == []  # the count is 0 for the first and the second step
    fake.steps_done(p, 1)
    fake.steps_done(p, 1)
    (note,) = p.comments
    assert note.startswith("rimochan: block weights do not act on this quantised model")
    assert p.extra_generation_params[NOTES_KEY] == note
