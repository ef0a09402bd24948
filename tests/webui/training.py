"""Small trainings in a real WebUI, by what its Train tab's page and its API ask for."""

import json
import shutil
import time

import pytest

from lib_rimo.environment import ROOT
from tests.webui.server import PATIENCE

PICTURES = ROOT / "lib_rimo" / "demo" / "rimochan"


def ask(server, what, **request):
    """What the Train tab's page asks."""
    body = {"data": [json.dumps({"do": what, **request})]}
    return json.loads(server._json("run/rimo_train", body)["data"][0])


def open_tab(server):
    """What the page is told at first, of a WebUI that can train."""
    opened = ask(server, "open")
    if not opened["is_ready"]:
        pytest.skip("needs the trainer's libraries: run install.py with the WebUI's Python")
    return opened


def few_steps(server, **others):
    """Options of a training of a few steps on pictures that were dropped in."""
    opened = open_tab(server)
    folder = server.data / "rimo" / "pictures" / "five"
    shutil.copytree(PICTURES, folder, dirs_exist_ok=True)
    return {
        "pretrained_model_name_or_path": opened["bases"][0]["path"],
        "train_data_dir": str(folder),
        "output_name": "trained",
        "trigger_word": "rimochan",
        "resolution": "64",
        "min_bucket_reso": 64,
        "max_train_steps": 4,
        "unet_lr": 0.01,
        **others,
    }


def train(server, options):
    """Have it trained to the end; returns the job's name."""
    job = server._json("rimo/v1/jobs", {"options": options})["id"]
    shown = wait_for(server, job, "finished", "failed", "died")
    assert shown["state"] == "finished", shown
    return job


def wait_for(server, job, *states):
    """What is shown of a job once it has come into one of the states."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        shown = server._json(f"rimo/v1/jobs/{job}")
        if shown["state"] in states:
            return shown
        time.sleep(1)
    pytest.fail(f"{job} did not become {states}: {shown}")
