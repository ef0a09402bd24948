"""Job folders that are damaged, and what it costs to look at many."""

import builtins
import dataclasses
import io
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib_rimo.hosts.standalone import Standalone
from lib_rimo.training.config.options import TrainingOptions
from lib_rimo.training.jobs.folder import Job, Status
from lib_rimo.training.jobs.queue import Queue
from lib_rimo.ui.train_server import TrainServer

EVENTS = [
    {"kind": "phase", "time": 1.0, "phase": "training", "step": 0, "steps": 9},
    {
        "kind": "progress",
        "time": 2.0,
        "step": 1,
        "steps": 9,
        "loss": 0.5,
        "smoothed_loss": 0.5,
        "learning_rates": [1e-4],
        "seconds_left": 3.0,
        "seconds_a_step": 0.1,
    },
    {
        "kind": "warning",
        "time": 3.0,
        "template": "{n} of it",
        "values": {"n": 1},
        "text": "1 of it",
    },
    {"kind": "saved", "time": 4.0, "step": 1, "path": "lora.safetensors"},
    {"kind": "sample", "time": 4.5, "step": 1, "path": "sample.png"},
    {"kind": "failed", "time": 5.0, "text": "Over.", "messages": [{"template": "Over."}]},
]


def make_job(queue, name, added, phase="ended"):
    """A job as one finds it, without anything having been trained."""
    folder = queue.folder / name
    training = folder / f"{name}.job"
    training.mkdir(parents=True)
    options = TrainingOptions("model.safetensors", "pictures", name, str(folder))
    (folder / "job.json").write_text(json.dumps(dataclasses.asdict(options)))
    status = Status(phase=phase, added=added, started=added, ended=added, exit_status=2)
    (folder / "status.json").write_text(json.dumps(dataclasses.asdict(status)))
    (training / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in EVENTS))
    return Job(folder)


def server_of(home):
    server = TrainServer(Standalone(home))
    server.queue.ensure_running = lambda: None
    return server


def ask(server, what, **request):
    """The answer, which has to be JSON as browsers read it."""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(server.answer(json.dumps({"do": what, **request})), parse_constant=refuse)


def test_ended_jobs_are_not_read_again(tmp_path, monkeypatch):
    server = server_of(tmp_path)
    jobs = [make_job(server.queue, f"job-{number}", float(number)) for number in range(50)]
    assert len(ask(server, "jobs")["jobs"]) == 50
    opened = []
    real_open = io.open

    def count(file, *arguments, **named):
        if str(tmp_path) in str(file):
            opened.append(str(file))
        return real_open(file, *arguments, **named)

    monkeypatch.setattr(io, "open", count)
    monkeypatch.setattr(builtins, "open", count)
    assert len(ask(server, "jobs")["jobs"]) == 50
    assert opened == []
    jobs[3].note(ended=99.0)
    opened.clear()
    ask(server, "jobs")
    assert [Path(file).name for file in opened] == ["status.json"]
    assert jobs[3].status.ended == 99.0


NESTED = "[" * 3000 + "]" * 3000
VALUES = [
    *("null", "[]", "{}", '"text"', "true", "NaN", "1e999", "-1", "9" * 400, NESTED, '"\\ud800"'),
    *('"\\u0000"', '"../../up"', json.dumps("n" * 5000), '{"template": [1], "values": 3}'),
]


def whole(path, draw):
    """Another content, or none."""
    return draw(st.sampled_from(["", "\n", "\x00" * 9, *VALUES])).encode()


def cut(path, draw):
    content = path.read_bytes()
    return content[: int(draw(st.floats(0, 1)) * len(content))]


def flipped(path, draw):
    content = bytearray(path.read_bytes())
    content[int(draw(st.floats(0, 0.999)) * len(content))] ^= 1 << draw(st.integers(0, 7))
    return bytes(content)


def valued(path, draw):
    """One value replaced by another, or added under an unknown name, in one of the lines."""
    lines = path.read_text().splitlines()
    at = draw(st.integers(0, len(lines) - 1))
    content = json.loads(lines[at])
    name = draw(st.sampled_from([*content, "unknown"]))
    content[name] = "HERE"
    lines[at] = json.dumps(content).replace('"HERE"', draw(st.sampled_from(VALUES)))
    return ("\n".join(lines) + "\n").encode()


@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_one_damaged_thing_costs_that_thing_only(tmp_path_factory, data):
    home = tmp_path_factory.mktemp("home")
    server = server_of(home)
    sound = make_job(server.queue, "sound", 1.0)
    phase = data.draw(st.sampled_from(["ended", "waiting", "running"]))
    hurt = make_job(server.queue, "hurt", 2.0, phase)
    file = data.draw(
        st.sampled_from(
            [
                hurt.folder / "job.json",
                hurt.folder / "status.json",
                hurt.folder / "hurt.job/events.jsonl",
            ]
        )
    )
    way = data.draw(st.sampled_from([whole, cut, flipped, valued, "gone", "folder", "dangling"]))
    if callable(way):
        content = way(file, data.draw)
        file.write_bytes(content)
    else:
        file.unlink()
        if way == "folder":
            file.mkdir()
        elif way == "dangling":
            file.symlink_to(home / "nowhere")

    jobs = {job["id"]: job for job in ask(server, "open")["jobs"]}
    assert jobs["sound"]["state"] == "failed"
    assert jobs["sound"]["name"] == "sound"
    shown = ask(server, "watch", job="sound")
    assert shown["ending"]["text"].startswith("Over.")
    queue = server.queue
    assert queue.running() is None
    assert {job.id for job in queue.waiting()} <= {"hurt"}
    if "hurt" in jobs:  # a folder without a status is no job
        shown = ask(server, "watch", job="hurt")
        assert "error" not in shown, shown
        if shown["state"] == "damaged":
            (message,) = shown["ending"]["messages"]
            assert message["values"]["file"] in ("job.json", "status.json")
            assert "error" in ask(server, "resume", job="hurt")
            assert ask(server, "train", options={}).keys() == {"error", "messages"}
        left = ask(server, "forget", job="hurt")["jobs"]
        assert [job["id"] for job in left] == ["sound"]
        assert not hurt.folder.exists()
    assert sound.folder.exists()
    shutil.rmtree(home)


@pytest.mark.parametrize("content", ["", "null", '{"phase": "flying"}', '{"added": "now"}', "{"])
def test_a_damaged_status_is_shown_with_one_sentence(tmp_path, content):
    job = make_job(Queue(tmp_path), "one", 1.0, "waiting")
    (job.folder / "status.json").write_text(content)
    assert job.state() == "damaged"
    (message,) = job.ending().messages
    assert message.text().startswith("status.json of this training cannot be read (")
    assert job.options.train_data_dir == "pictures"


def test_what_a_newer_version_wrote_is_passed_over(tmp_path):
    job = make_job(Queue(tmp_path), "one", 1.0)
    status = json.loads((job.folder / "status.json").read_text())
    (job.folder / "status.json").write_text(json.dumps({**status, "mood": "good"}))
    assert job.state() == "failed"
    (job.folder / "status.json").write_text(json.dumps({**status, "unpublished": "No room."}))
    assert job.status.unpublished == {"text": "No room."}


def test_a_recipe_that_is_damaged_costs_itself_only(tmp_path):
    server = server_of(tmp_path)
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    for number, content in enumerate(VALUES):
        (recipes / f"bad-{number}.json").write_text(f'{{"network_dim": {content}}}')
        (recipes / f"worse-{number}.json").write_text(content)
    (recipes / "good.json").write_text('{"network_dim": 7}')
    (recipes / "dangling.json").symlink_to(tmp_path / "nowhere")
    opened = ask(server, "open")
    assert opened["recipes"]["good"]["network_dim"] == 7
    about = {message["about"] for message in opened["messages"]}
    assert "dangling.json" in about
