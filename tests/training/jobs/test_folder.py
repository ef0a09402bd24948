"""Job folders that are damaged, and what it costs to look at many."""

import builtins
import io
import json
import random
import shutil
from pathlib import Path

import pytest

from lib_rimo.training.jobs.queue import Queue
from tests.attack.jobs import VALUES, ask, damage, make_job, server_of


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


def test_one_damaged_thing_costs_that_thing_only(tmp_path):
    rng = random.Random(0)
    for number in range(60):
        damage_one(tmp_path / str(number), rng)


def damage_one(home, rng):
    server = server_of(home)
    sound = make_job(server.queue, "sound", 1.0)
    phase = rng.choice(["ended", "waiting", "running"])
    hurt = make_job(server.queue, "hurt", 2.0, phase)
    file = rng.choice(["job.json", "status.json", "hurt.job/events.jsonl"])
    damage(hurt.folder / file, rng)

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
