"""What the trainer is told by a WebUI, and what it tells it."""

import sys
import threading
from types import SimpleNamespace

import pytest
from PIL import Image

from lib_rimo.errors import UserError
from lib_rimo.hosts.training import check_folder
from lib_rimo.hosts.webui_training import WebUITraining


@pytest.fixture
def webui(tmp_path, monkeypatch):
    """A WebUI that others can reach, with a checkpoint and a LoRA that are links to elsewhere."""
    for folder in ("elsewhere", "models", "loras"):
        (tmp_path / folder).mkdir()
    for name in ("large", "other", "linked"):
        (tmp_path / f"elsewhere/{name}.safetensors").write_bytes(b"model")
    (tmp_path / "models/large.safetensors").symlink_to(tmp_path / "elsewhere/large.safetensors")
    (tmp_path / "loras/linked.safetensors").symlink_to(tmp_path / "elsewhere/linked.safetensors")
    (tmp_path / "loras/old.safetensors").write_bytes(b"lora")

    known = SimpleNamespace(filename=str(tmp_path / "models/large.safetensors"))
    listed = {"old"}
    modules = {
        "modules.shared": SimpleNamespace(
            cmd_opts=SimpleNamespace(
                lora_dir=str(tmp_path / "loras"), disable_extension_access=True
            ),
            interrogator=SimpleNamespace(interrogate=lambda image: "a girl<error>"),
        ),
        "modules.devices": SimpleNamespace(),
        "modules.sd_models": SimpleNamespace(
            checkpoints_list={"large": known}, select_checkpoint=lambda: known
        ),
        "modules.call_queue": SimpleNamespace(queue_lock=threading.Lock()),
        "modules.paths_internal": SimpleNamespace(data_path=str(tmp_path)),
        "networks": SimpleNamespace(
            available=listed,
            available_networks={
                "linked": SimpleNamespace(filename=str(tmp_path / "loras/linked.safetensors"))
            },
            list_available_networks=listed.clear,  # what it does at first
            update_available_networks_by_names=listed.update,
        ),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return WebUITraining("a1111")


def test_a_linked_checkpoint_of_the_webui_can_be_trained_on(webui, tmp_path):
    (base,) = webui.base_models()
    real = tmp_path / "elsewhere/large.safetensors"
    assert check_folder(base.path, webui, is_model=True) == real


def test_a_linked_lora_of_the_webui_can_be_gone_on_from(webui, tmp_path):
    linked = tmp_path / "loras/linked.safetensors"
    assert check_folder(linked, webui, is_model=True) == linked.resolve()


@pytest.mark.parametrize(
    ("path", "is_model"),
    [
        ("elsewhere/other.safetensors", True),
        ("elsewhere", True),
        ("models/large.safetensors", False),  # nothing that may be written
        ("loras/linked.safetensors", False),
    ],
)
def test_what_lies_beside_it_is_refused(webui, tmp_path, path, is_model):
    with pytest.raises(UserError, match="outside of the folders"):
        check_folder(tmp_path / path, webui, is_model=is_model)


def test_a_new_lora_is_found_and_the_others_stay_known(webui):
    webui.refresh("new")
    assert sys.modules["networks"].available == {"old", "new"}


def test_what_the_webuis_captioner_tells_of_its_failure_is_no_caption(webui, tmp_path):
    picture = tmp_path / "1.png"
    Image.new("RGB", (8, 8)).save(picture)
    with pytest.raises(UserError, match=r"could not caption 1\.png .*its console says why"):
        webui.interrogators()["CLIP"](picture)
