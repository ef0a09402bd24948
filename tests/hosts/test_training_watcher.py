"""A WebUI's model makes room for a training and comes back."""

import threading
import time
from types import SimpleNamespace

import pytest

from lib_rimo.hosts import webui_training
from lib_rimo.hosts.webui_training import TrainingWatcher


class Host:
    """What the watcher uses of a WebUI."""

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
def watcher(tmp_path, monkeypatch):
    monkeypatch.setattr(TrainingWatcher, "_needs_room", lambda self, job: True)
    return TrainingWatcher(Queue(tmp_path), Host())


def test_the_model_leaves_once_and_returns_at_the_end(watcher):
    watcher.look()
    assert watcher.host.done == []
    watcher.queue.is_running = True
    watcher.look()
    watcher.look()
    assert watcher.host.done == ["leave"]
    watcher.queue.is_running, watcher.queue.is_waiting = False, True
    watcher.look()  # the next one is about to start
    assert watcher.host.done == ["leave"]
    watcher.queue.is_waiting = False
    watcher.look()
    assert watcher.host.done == ["leave", "return"]


def test_a_picture_during_the_training_gets_the_model_for_its_time(watcher):
    watcher.queue.is_running = True
    watcher.look()
    with watcher.host.lock:  # as the WebUI holds it while it draws
        watcher.bring_model_back()
    watcher.look()
    assert watcher.host.done == ["leave", "return", "leave"]


def test_a_reload_of_the_host_has_the_model_back(watcher, monkeypatch):
    monkeypatch.setattr(TrainingWatcher, "LOOK_EVERY", 0.01)
    watcher.queue.is_running = True
    watcher.start()
    for _ in range(6000):
        if watcher.host.done:
            break
        time.sleep(0.01)
    watcher.stop()
    assert watcher.host.done == ["leave", "return"]
    assert not watcher._thread.is_alive()


def test_with_room_for_both_nothing_moves(watcher, monkeypatch):
    monkeypatch.setattr(TrainingWatcher, "_needs_room", lambda self, job: False)
    watcher.queue.is_running = True
    watcher.look()
    watcher.queue.is_running = False
    watcher.look()
    assert watcher.host.done == []


def test_a_new_file_is_shown_once(watcher, tmp_path):
    watcher.look()
    (tmp_path / "rimochan.safetensors").write_bytes(b"lora")
    watcher.look()
    watcher.look()
    assert watcher.host.done == ["refresh rimochan"]


def test_an_error_does_not_end_the_thread(watcher, monkeypatch, capsys):
    looks = []

    def look():
        looks.append(1)
        if len(looks) == 2:
            watcher.stop()
        raise RuntimeError("the folder is gone")

    monkeypatch.setattr(webui_training.TrainingWatcher, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(watcher, "look", look)
    watcher.start()
    watcher._thread.join(10)
    assert len(looks) == 2
    assert "the folder is gone" in capsys.readouterr().out
