"""Jobs as processes of their own: queued, stopped, killed, found again."""

import dataclasses
import json
import os
import time
from types import SimpleNamespace

import psutil
import pytest
import torch
from safetensors.torch import save_file

from lib_rimo.errors import UserError
from lib_rimo.lora.files import read_lora
from lib_rimo.training.jobs import folder as folder_module
from lib_rimo.training.jobs import queue as queue_module
from lib_rimo.training.jobs.lock import is_held
from lib_rimo.training.jobs.queue import Queue

PATIENCE = 600  # seconds; a trainer may take a minute to start where much else is running


def wait_for_runners(queue):
    for runner in queue._runners:
        runner.wait(PATIENCE)


@pytest.fixture
def queue(tmp_path):
    queue = Queue(tmp_path / "jobs")
    yield queue
    for job in [*queue.waiting(), queue.running()]:
        if job is not None:
            job.give("stop")
    wait_for_runners(queue)


def wait_until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "that took too long"
        time.sleep(0.1)


def trainer_of(job):
    """The process that trains a job."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "train" in words and str(job.folder / "job.json") in words:
            return process
    return None


def long_running(options, name):
    return dataclasses.replace(
        options, output_name=name, max_train_steps=100_000, save_state_every_n_steps=1
    )


def test_two_jobs_run_in_turn_and_are_published(queue, options, tmp_path):
    first = queue.add(options, tmp_path / "loras")
    second = queue.add(dataclasses.replace(options, output_name="second"), tmp_path / "loras")
    assert [job.id for job in queue.jobs()] == [first.id, second.id]
    assert second.state() == "waiting"
    wait_for_runners(queue)
    assert [job.state() for job in queue.jobs()] == ["finished", "finished"]
    assert first.status.ended <= second.status.started
    published = tmp_path / "loras" / "small.safetensors"
    assert published.read_bytes() == first.lora.read_bytes()
    assert read_lora(published).metadata["ss_steps"] == "6"
    assert first.progress().curve[-1][0] == 6


def test_a_killed_trainer_is_told_of_and_goes_on(queue, options):
    job = queue.add(long_running(options, "killed"))
    wait_until(lambda: job.progress().step >= 2)
    assert job.state() == "running"
    job.give("save")
    wait_until(lambda: job.lora.exists())
    trainer_of(job).kill()
    wait_for_runners(queue)
    ending = job.ending()
    assert ending.kind == job.state() == "died"
    assert "was killed from outside" in ending.text
    assert ending.last_good_file == job.lora
    assert "Resume goes on" in ending.text
    reached = job.progress().step

    queue.resume(job)
    wait_until(lambda: job.progress().step > reached)
    assert any(line.startswith("Going on after step") for line in job.progress().lines)
    job.give("stop")
    wait_for_runners(queue)
    assert job.state() == "stopped"


def test_a_training_survives_its_runner(queue, options):
    job = queue.add(long_running(options, "orphan"))
    wait_until(lambda: job.progress().step >= 1)
    for runner in queue._runners:
        runner.kill()
    wait_for_runners(queue)
    other = Queue(queue.folder)  # as after a restart
    found = other.job(job.id)
    assert found.state() == "running"
    found.give("stop")
    wait_until(lambda: not found.is_alive())
    assert found.state() == "stopped"


def test_a_waiting_job_can_be_called_off(queue, options):
    running = queue.add(long_running(options, "running"))
    waiting = queue.add(dataclasses.replace(options, output_name="waiting"))
    waiting.give("stop")
    assert waiting.state() == "stopped"
    with pytest.raises(UserError, match="nothing to save"):
        waiting.give("save")
    wait_until(lambda: running.state() == "running")
    with pytest.raises(UserError, match="stop it first"):
        queue.remove(running)
    queue.remove(waiting)
    assert [job.id for job in queue.jobs()] == [running.id]


def test_a_foreign_lora_is_not_overwritten(queue, options, tmp_path, monkeypatch):
    monkeypatch.setattr(queue, "ensure_running", lambda: None)
    (tmp_path / "small.safetensors").write_bytes(b"somebody's work")
    with pytest.raises(UserError, match="choose another name"):
        queue.add(options, tmp_path)
    assert queue.jobs() == []


def test_a_base_model_that_is_none_fails_with_its_reason(queue, options, tmp_path):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not a model")
    job = queue.add(dataclasses.replace(options, pretrained_model_name_or_path=str(broken)))
    wait_for_runners(queue)
    assert job.state() == "failed"
    assert "broken.safetensors" in job.ending().text


def write_events(job, *kinds):
    job.training_folder.mkdir(exist_ok=True)
    told = {"time": 1.0, "phase": "training", "step": 6, "steps": 6, "path": str(job.lora)}
    lines = [{"kind": kind, **told} for kind in kinds]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (job.training_folder / "events.jsonl").write_text(text)


def test_a_full_disk_at_publishing_is_told(queue, options, tmp_path, monkeypatch):
    monkeypatch.setattr(queue, "ensure_running", lambda: None)
    monkeypatch.setattr(queue_module, "command_line", lambda python, arguments: ["true"])
    job = queue.add(options, tmp_path / "loras")
    write_events(job, "phase", "saved", "finished")
    job.lora.write_bytes(b"lora")
    monkeypatch.setattr(queue_module.shutil, "disk_usage", lambda folder: SimpleNamespace(free=3))
    queue_module.run_queue(queue.folder)
    assert list((tmp_path / "loras").iterdir()) == []
    assert job.state() == "finished"
    assert job.ending().text == (
        "The disk is full, small.safetensors could not be written: make room on the disk of "
        f"{tmp_path / 'loras'}. Then copy {job.lora} there."
    )
    monkeypatch.undo()
    job.publish()
    assert (tmp_path / "loras" / "small.safetensors").read_bytes() == b"lora"


def test_a_lora_that_somebody_else_put_there_is_never_overwritten(
    queue, options, tmp_path, monkeypatch
):
    monkeypatch.setattr(queue, "ensure_running", lambda: None)
    job = queue.add(options, tmp_path / "loras")
    published = tmp_path / "loras" / "small.safetensors"
    for content in (b"first", b"second"):
        job.lora.write_bytes(content)
        assert job.publish()
        assert published.read_bytes() == content
    assert not job.publish()
    published.write_bytes(b"somebody's")
    job.lora.write_bytes(b"third")
    with pytest.raises(UserError, match="is not of this training, so it was left as it is"):
        job.publish()
    with pytest.raises(UserError, match="called small already"):
        queue.add(options, tmp_path / "loras")
    assert published.read_bytes() == b"somebody's"
    published.unlink()
    assert job.publish()
    (queue.folder / "published.json").write_bytes(b"[damaged")  # then by the time of the file
    job.lora.write_bytes(b"fourth")
    with pytest.raises(UserError, match="left as it is"):
        job.publish()


def test_damaged_notes_of_what_was_published_cost_nothing_of_ones_own(
    queue, options, tmp_path, monkeypatch
):
    monkeypatch.setattr(queue, "ensure_running", lambda: None)
    job = queue.add(options, tmp_path / "loras")
    notes, published = queue.folder / "published.json", tmp_path / "loras" / "small.safetensors"

    def save(path, step, **metadata):
        named = {"ss_output_name": "small", "ss_seed": "1", "ss_steps": str(step), **metadata}
        save_file({"a": torch.full((1,), float(step))}, path, named)
        os.utime(path, (step, step))  # some disks' clocks are coarser than two saves are apart

    for step, damage in enumerate(["", "[damaged", "[]", '{"a": 1}', "[" * 100_000]):
        if damage:
            notes.write_text(damage)
        save(job.lora, step)
        assert job.publish(), damage
        assert published.read_bytes() == job.lora.read_bytes()
    notes.write_text("[damaged")
    save(published, 9, ss_seed="2")  # of another training
    save(job.lora, 10)
    with pytest.raises(UserError, match="left as it is"):
        job.publish()
    published.unlink()
    assert job.publish()
    save(published, 11)  # noted anew: now by its version again
    save(job.lora, 12)
    with pytest.raises(UserError, match="left as it is"):
        job.publish()


def test_a_full_disk_is_told_of_by_the_runner(queue, options, monkeypatch):
    monkeypatch.setattr(queue, "ensure_running", lambda: None)
    monkeypatch.setattr(queue_module, "disk_is_full", lambda folder: True)
    monkeypatch.setattr(queue_module, "command_line", lambda python, arguments: ["false"])
    job = queue.add(options)
    queue_module.run_queue(queue.folder)
    assert job.status.exit_status == 1
    assert job.status.disk_full
    assert not is_held(queue.folder / "runner.lock")
    queue.resume(job)
    monkeypatch.setattr(queue_module, "disk_is_full", lambda folder: False)
    queue_module.run_queue(queue.folder)
    assert not job.status.disk_full


def test_a_full_disk_is_told_of_where_the_runner_could_not(queue, options, monkeypatch):
    monkeypatch.setattr(queue, "ensure_running", lambda: None)
    job = queue.add(options)
    job.note(phase="running")  # the last that there was room for
    write_events(job, "phase")
    monkeypatch.setattr(folder_module, "disk_is_full", lambda folder: folder == job.folder)
    assert job.state() == "died"
    assert job.ending().text == "The disk is full: make room."


def test_without_room_no_job_is_added(queue, options, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="The disk is full"):
        queue.add(options)
    assert list(queue.folder.iterdir()) == []
