import sys
from types import SimpleNamespace

import pytest

from lib_rimo.hosts.detection import connect
from tests.hosts.fake_a1111 import FakeA1111, NetworkModule
from tests.hosts.fake_forge import FakeForge, LoraLoader
from tests.hosts.fake_forks import FakeClassic, FakeFork, FakeReForge
from tests.hosts.fake_webui import LAYERS, picture, weights

FILES = {"rimochan": dict.fromkeys(LAYERS, 10.0)}
FAKES = {
    "a1111": FakeA1111,
    "forge": FakeForge,
    "neo": FakeFork,
    "reforge": FakeReForge,
    "classic": FakeClassic,
}


@pytest.fixture(params=FAKES)
def fake(request, tmp_path, monkeypatch):
    made = FAKES[request.param](tmp_path, FILES)
    made.name = request.param
    made.put_into(monkeypatch)
    return made


def test_the_adapter_is_the_host_s(fake):
    assert connect().name == fake.name


def refuses(monkeypatch, capsys, said):
    """The host gets nothing of Rimo's, and the sentence is in the panel, console and infotext."""
    host = connect()
    before = functions()
    host.install()
    assert functions() == before
    (note,) = map(str, host.panel_messages())
    assert said in note
    assert note in capsys.readouterr().out
    p = picture("<lora:rimochan:0.5:IN07@0>, hat")
    host.process(p)
    assert p.all_prompts == ["<lora:rimochan:0.5>, hat"]
    assert (p.comments, p.extra_generation_params) == ([note], {"Rimo notes": note})
    untouched = picture("<lora:rimochan:0.5> <lora:wrong:1:1,2> <lora:other:1:in=0.5>")
    host.process(untouched)
    assert untouched.all_prompts == [untouched.prompt]
    assert untouched.extra_generation_params == {}
    return host


def functions():
    extension = sys.modules.get("extra_networks_lora")
    return (
        getattr(getattr(extension, "ExtraNetworkLora", None), "activate", None),
        getattr(sys.modules.get("networks"), "load_networks", None),
        NetworkModule.multiplier,
        LoraLoader.refresh,
    )


MISSING = {
    "a1111": [("extra_networks_lora", "ExtraNetworkLora"), ("networks", "networks_in_memory")],
    "forge": [("extra_networks_lora", "ExtraNetworkLora"), ("networks", "load_networks")],
    "neo": [("extra_networks_lora", "ExtraNetworkLora"), ("networks", "load_networks")],
    "reforge": [("networks", "load_networks"), ("networks", "list_available_networks")],
    "classic": [("networks", "load_networks"), ("networks", "list_available_networks")],
}


@pytest.mark.parametrize("number", [0, 1])
def test_where_one_function_is_missing_none_is_replaced(fake, number, monkeypatch, capsys):
    module, name = MISSING[fake.name][number]
    monkeypatch.delattr(sys.modules[module], name)
    host = refuses(monkeypatch, capsys, f"this WebUI has no {module}.{name}")
    if name != "ExtraNetworkLora":
        assert host.lora_path("rimochan") == fake.folder / "rimochan.pt"


def test_where_one_function_takes_other_arguments_none_is_replaced(fake, monkeypatch, capsys):
    owner = sys.modules["extra_networks_lora"].ExtraNetworkLora
    monkeypatch.setattr(owner, "activate", lambda self: None)
    refuses(monkeypatch, capsys, "extra_networks_lora.ExtraNetworkLora.activate takes other")
    assert fake.draw("")[0] == weights()


def test_plain_loras_work_where_none_is_replaced(fake, monkeypatch):
    places = {
        "a1111": ("network", "NetworkModule"),
        "forge": ("backend.patcher.lora", "LoraLoader"),
        "neo": ("backend.patcher.base", "merge_lora_to_weight"),
        "reforge": ("ldm_patched.modules.lora", "calculate_weight"),
        "classic": ("ldm_patched.modules.model_patcher", "ModelPatcher"),
    }
    module, attribute = places[fake.name]
    monkeypatch.delattr(sys.modules[module], attribute)
    host = connect()
    host.install()
    assert "merges LoRAs in no way that Rimo knows" in host.panel_messages()[0].text()
    assert fake.draw("<lora:rimochan:0.5>")[0] == weights(5)


def test_without_the_lora_extension_it_is_said(monkeypatch, tmp_path, capsys):
    paths = SimpleNamespace(data_path=str(tmp_path))
    monkeypatch.setitem(sys.modules, "modules.paths", paths)
    refuses(monkeypatch, capsys, "this WebUI's Lora extension is switched off")


def test_presets_are_there_without_merging(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "modules.paths", SimpleNamespace(data_path=str(tmp_path)))
    host = connect()
    host.save_preset("MINE", "IN07@0.5")
    assert "MINE" in host.presets().blocks
