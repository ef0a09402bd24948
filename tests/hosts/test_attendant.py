"""A WebUI's model makes room for a training and comes back."""

import threading
from types import SimpleNamespace

import pytest

from lib_rimo.hosts import webui_training
from lib_rimo.hosts.webui_training import Attendant


class Host:
    """What the attendant uses of a WebUI."""

    def __init__(self):
        self.lock = threading.Lock()
        self.done = []

    def is_gpu(self):
        return True

    def leave_gpu(self):
        assert self.lock.locked()
        self.done.append("leave")

    def return_to_gpu(self):
        assert self.lock.locked()
        self.done.append("return")

    def refresh(self, name):
        self.done.append(f"refresh {name}")


class Queue:
    """A queue of one job."""

    def __init__(self, folder):
        options = SimpleNamespace(output_name="rimochan")
        status = SimpleNamespace(publish_to=str(folder))
        lora = folder / "rimochan.safetensors"
        self.job = SimpleNamespace(id="1", options=options, status=status, lora=lora)
        self.is_running = False
        self.is_waiting = False

    def jobs(self):
        return [self.job]

    def running(self):
        return self.job if self.is_running else None

    def waiting(self):
        return [self.job] if self.is_waiting else []


@pytest.fixture
def attendant(tmp_path, monkeypatch):
    monkeypatch.setattr(Attendant, "_needs_room", lambda self, job: True)
    return Attendant(Queue(tmp_path), Host())


def test_the_model_leaves_once_and_returns_at_the_end(attendant):
    attendant.look()
    assert attendant.host.done == []
    attendant.queue.is_running = True
    attendant.look()
    attendant.look()
    assert attendant.host.done == ["leave"]
    attendant.queue.is_running, attendant.queue.is_waiting = False, True
    attendant.look()  # the next one is about to start
    assert attendant.host.done == ["leave"]
    attendant.queue.is_waiting = False
    attendant.look()
    assert attendant.host.done == ["leave", "return"]


def test_a_picture_during_the_training_gets_the_model_for_its_time(attendant):
    attendant.queue.is_running = True
    attendant.look()
    with attendant.host.lock:  # as the WebUI holds it while it draws
        attendant.come_back()
    attendant.look()
    assert attendant.host.done == ["leave", "return", "leave"]


def test_with_room_for_both_nothing_moves(attendant, monkeypatch):
    monkeypatch.setattr(Attendant, "_needs_room", lambda self, job: False)
    attendant.queue.is_running = True
    attendant.look()
    attendant.queue.is_running = False
    attendant.look()
    assert attendant.host.done == []


def test_a_new_file_is_shown_once(attendant, tmp_path):
    attendant.look()
    (tmp_path / "rimochan.safetensors").write_bytes(b"lora")
    attendant.look()
    attendant.look()
    assert attendant.host.done == ["refresh rimochan"]


def test_an_error_does_not_end_the_thread(attendant, monkeypatch, capsys):
    looks = []

    def look():
        looks.append(1)
        if len(looks) == 2:
            attendant.stop()
        raise RuntimeError("the folder is gone")

    monkeypatch.setattr(webui_training.Attendant, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(attendant, "look", look)
    attendant.start()
    attendant._thread.join(10)
    assert len(looks) == 2
    assert "the folder is gone" in capsys.readouterr().out
