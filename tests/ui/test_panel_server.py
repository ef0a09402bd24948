import json

import pytest

from lib_rimo.messages import Message
from lib_rimo.ui.panel_server import answer
from lib_rimo.weights.presets import load_presets, save_preset


class Host:
    def __init__(self, folder):
        self.folder = folder

    def presets(self):
        return load_presets([self.folder])

    def save_preset(self, name, values):
        save_preset(self.folder, name, values)

    def lora_path(self, name):
        return self.folder / f"{name}.safetensors" if name != "unknown" else None

    def panel_messages(self):
        return [Message("a note", level="note")]


@pytest.fixture
def host(tmp_path):
    header = json.dumps(
        {"lora_unet_down_blocks_0_downsamplers_0_conv.alpha": {"shape": []}}
    ).encode()
    length = len(header).to_bytes(8, "little")
    (tmp_path / "locon.safetensors").write_bytes(length + header)
    return Host(tmp_path)


def ask(host, **request):
    return json.loads(answer(host, json.dumps(request)))


def told(host, **request):
    """The sentences on tags, without the host's."""
    *messages, of_host = ask(host, **request)["messages"]
    assert (of_host["text"], of_host["level"]) == ("a note", "note")
    return [message["text"] for message in messages]


def test_presets_facts_and_notes(host):
    reply = ask(host, prompt="<lora:locon:1> <lora:unknown:1> <lora:missing:1>")
    assert reply["presets"]["MIDD"].startswith("1,0,0,0,1")
    assert reply["files"]["locon"] == {"family": "sd1", "blocks": ["IN03"], "layout": 26}
    assert reply["files"]["unknown"] is None
    assert reply["files"]["missing"] is None
    unknown, _ = reply["messages"]
    assert unknown["text"] == "unknown: there is no such LoRA file."
    assert unknown["values"] == {"name": "unknown"}


def test_problems_of_the_prompts_tags(host):
    unfit, wrong = told(host, prompt="<lora:locon:1:ALL> <lora:b:1,1>")
    assert "IN03 got no value" in unfit
    assert wrong.startswith("<lora:b:1,1> was left out")


def test_problems_stand_in_the_prompts_order_and_a_missing_file_once(host):
    prompt = "<lora:b:1,1> <lora:unknown:1> <lora:locon:1:ALL> <lora:unknown:1> <lora:c:1,1>"
    wrong, missing, unfit, last = told(host, prompt=prompt)
    assert wrong.startswith("<lora:b:1,1> was left out")
    assert missing == "unknown: there is no such LoRA file."
    assert "IN03 got no value" in unfit
    assert last.startswith("<lora:c:1,1> was left out")


def test_a_file_of_flux_has_no_sliders(host):
    header = json.dumps({"lora_unet_double_blocks_0_img_mlp_0.alpha": {"shape": []}}).encode()
    path = host.folder / "flux.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    assert ask(host, prompt="<lora:flux:1>")["files"] == {"flux": None}
    assert told(host, prompt="<lora:flux:1:D00@0.5>") == [
        "flux was made for Flux, whose blocks have no sliders: write 57 or 61 block values, or "
        "single ones, into the prompt."
    ]


def test_saving_a_preset(host):
    reply = ask(host, prompt="", save=["MINE", "IN07@0.5"])
    assert reply["presets"]["MINE"] == "IN07@0.5"
    assert told(host, prompt="") == []


def test_a_preset_that_cannot_be_kept_is_said(host):
    (problem,) = told(host, prompt="", save=["a:b", "IN07@0.5"])
    assert "cannot name a preset" in problem
    (problem,) = told(host, prompt="", save=["A", "1,1\nB:2"])
    assert problem
