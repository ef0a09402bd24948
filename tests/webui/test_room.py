"""A real WebUI's model makes room for a training and comes back.

On a CPU nothing needs room: an extension of the test has the host say that it draws on a GPU. The
rest is the host's own, and so is what it says of the models that it holds.
"""

import time

import pytest

from tests.webui.folder import ROOT
from tests.webui.server import PATIENCE
from tests.webui.training import few_steps, wait_for

# Each move is printed with how many models the host holds on its device, where it counts them.
EXTENSION = """
import sys

training = sys.modules["lib_rimo.hosts.webui_training"].WebUITraining
managers = ("backend.memory_management", "ldm_patched.modules.model_management")
managers = [sys.modules[name] for name in managers if name in sys.modules]


def told(name):
    move = getattr(training, name)

    def tell(self):
        move(self)
        held = [len(manager.current_loaded_models) for manager in managers[:1]]
        print("room:", name, *held, flush=True)

    return tell


training.is_gpu = lambda self: True
training.leave_gpu, training.return_to_gpu = told("leave_gpu"), told("return_to_gpu")
"""
TAG = "a cat <lora:one:1:IN07@0.5>"


@pytest.fixture(scope="module")
def server(start, tmp_path_factory):
    extension = tmp_path_factory.mktemp("extension") / "zz_says_gpu"  # loaded after Rimo
    (extension / "scripts").mkdir(parents=True)
    (extension / "scripts" / "says_gpu.py").write_text(EXTENSION)
    return start(ROOT, extension)


def moves(server):
    """What was moved so far, in order, each with the number of models that the host then held."""
    lines = server.log.read_text(errors="replace").splitlines()
    return [line.partition("room: ")[2].split() for line in lines if "room: " in line]


def wait_for_moves(server, count):
    deadline = time.monotonic() + PATIENCE
    while len(moves(server)) < count:
        assert time.monotonic() < deadline, moves(server)
        time.sleep(0.5)
    return moves(server)


def test_the_model_makes_room_for_a_training_and_comes_back(server):
    before = server.draw(TAG)
    options = few_steps(server, output_name="room", max_train_steps=100_000)
    job = server._json("rimo/v1/jobs", {"options": options})["id"]
    wait_for(server, job, "running")
    (left,) = wait_for_moves(server, 1)
    assert left[0] == "leave_gpu"
    if server.host == "forge":
        assert left[1:] == ["0"]
    assert server.draw(TAG) == before  # it came back for the picture
    names = [name for name, *_ in wait_for_moves(server, 3)]
    assert names == ["leave_gpu", "return_to_gpu", "leave_gpu"]  # and went again
    server._json(f"rimo/v1/jobs/{job}/stop", {})
    wait_for(server, job, "stopped")
    assert wait_for_moves(server, 4)[-1][0] == "return_to_gpu"
    assert server.draw(TAG) == before
    assert len(moves(server)) == 4
