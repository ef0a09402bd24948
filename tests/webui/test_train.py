"""Training from a real WebUI: by its API, with its own environment left alone."""

import json
import os
import shutil
import subprocess
import time

import pytest

from lib_rimo.environment import ROOT
from tests.webui.server import PATIENCE, RefusedError

PICTURES = ROOT / "lib_rimo" / "demo" / "rimochan"


def ask(server, what, **request):
    """What the Train tab's page asks."""
    body = {"data": [json.dumps({"do": what, **request})]}
    return json.loads(server._json("run/rimo_train", body)["data"][0])


def wait_for(server, job, *states):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        shown = server._json(f"rimo/v1/jobs/{job}")
        if shown["state"] in states:
            return shown
        time.sleep(1)
    pytest.fail(f"{job} did not become {states}: {shown}")


def freeze():
    """The packages of the WebUI's environment."""
    python = os.environ["RIMO_WEBUI_PYTHON"]
    command = [python, "-m", "pip", "freeze"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def options(server):
    """A training of a few steps on pictures that were dropped in."""
    opened = ask(server, "open")
    if not opened["is_ready"]:
        pytest.skip("needs the trainer's libraries: run install.py with the WebUI's Python")
    folder = server.data / "rimo" / "pictures" / "five"
    shutil.copytree(PICTURES, folder)
    return {
        "pretrained_model_name_or_path": opened["bases"][0]["path"],
        "train_data_dir": str(folder),
        "output_name": "trained",
        "trigger_word": "rimochan",
        "resolution": "64",
        "min_bucket_reso": 64,
        "max_train_steps": 4,
        "save_every_n_steps": 2,
        "unet_lr": 0.01,
    }


@pytest.fixture(scope="module")
def trained(server, options):
    before = server.draw("a cat")
    job = server._json("rimo/v1/jobs", {"options": options})["id"]
    shown = wait_for(server, job, "finished", "failed", "died")
    assert shown["state"] == "finished", shown
    assert server.draw("a cat") == before
    return job


def test_the_tab_is_there(server):
    assert "rimo_train" in server.elements()


def test_the_lora_can_be_used_at_once(server, trained):
    names = {lora["name"] for lora in server.call("loras")}
    assert "trained" in names
    plain = server.draw("a cat")
    assert server.draw("a cat <lora:trained:1>") != plain


def test_a_lora_trained_again_replaces_the_old_one(server, options, trained):
    old = server.draw("a cat <lora:trained:1>")
    again = {**options, "seed": 2, "unet_lr": 0.02}
    job = server._json("rimo/v1/jobs", {"options": again})["id"]
    wait_for(server, job, "finished")
    assert server.draw("a cat <lora:trained:1>") != old


def test_a_foreign_name_is_refused(server, options):
    with pytest.raises(RefusedError, match="choose another output_name"):
        server._json("rimo/v1/jobs", {"options": {**options, "output_name": "one"}})


def test_steps_are_compared_through_the_webui(server, trained):
    ask(server, "compare", job=trained)
    deadline = time.monotonic() + PATIENCE
    while (state := ask(server, "watch", job=trained)["comparison"])["running"]:
        assert time.monotonic() < deadline
        time.sleep(1)
    assert state["error"] == ""
    assert ask(server, "comparison", job=trained)["picture"].startswith("data:image/jpeg")


def test_the_openapi_page_has_it(server):
    assert "/rimo/v1/jobs" in server._json("openapi.json")["paths"]


@pytest.mark.skipif("RIMO_WEBUI_PYTHON" not in os.environ, reason="needs RIMO_WEBUI_PYTHON")
def test_installing_leaves_the_webuis_environment_alone(server, options):
    before = freeze()
    subprocess.run([os.environ["RIMO_WEBUI_PYTHON"], str(ROOT / "install.py")], check=True)
    assert freeze() == before
