"""The page's own folder with trainings as one finds them, and one damaged file in it."""

import dataclasses
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from lib_rimo.hosts.standalone import Standalone
from lib_rimo.training.config.options import TrainingOptions
from lib_rimo.training.jobs.folder import Job, Status
from lib_rimo.training.jobs.queue import Queue
from lib_rimo.ui.train_server import TrainServer
from tests.attack.tally import Tally

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
NESTED = "[" * 3000 + "]" * 3000
VALUES = [
    *("null", "[]", "{}", '"text"', "true", "NaN", "1e999", "-1", "9" * 400, NESTED, '"\\ud800"'),
    *('"\\u0000"', '"../../up"', json.dumps("n" * 5000), '{"template": [1], "values": 3}'),
]


def make_job(queue: Queue, name: str, added: float, phase: str = "ended") -> Job:
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


def server_of(home: Path) -> TrainServer:
    """The page's server, whose queue starts nothing."""
    server = TrainServer(Standalone(home))
    server.queue.ensure_running = lambda: None
    return server


def ask(server: TrainServer, what: str, **request) -> dict:
    """The answer, which has to be JSON as browsers read it."""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(server.answer(json.dumps({"do": what, **request})), parse_constant=refuse)


def damage(file: Path, rng: random.Random) -> str:
    """Damage one of our files, in a way that is said."""
    way = rng.choice(["whole", "cut", "flipped", "valued", "gone", "folder", "dangling"])
    content = file.read_bytes()
    if way == "whole":
        content = rng.choice(["", "\n", "\x00" * 9, *VALUES]).encode()
    elif way == "cut":
        content = content[: rng.randint(0, len(content))]
    elif way == "flipped":
        flipped = bytearray(content)
        flipped[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        content = bytes(flipped)
    elif way == "valued":
        content = _with_another_value(content.decode(), rng).encode()
    if way in ("gone", "folder", "dangling"):
        file.unlink()
        if way == "folder":
            file.mkdir()
        elif way == "dangling":
            file.symlink_to(file.parent / "nowhere")
    else:
        file.write_bytes(content)
    return f"{file.name} {way}: {content[:80]!r}"


def _with_another_value(text: str, rng: random.Random) -> str:
    """One value replaced by another, or added under an unknown name, in one of the lines."""
    try:
        documents, whole = [json.loads(text)], True
    except ValueError:
        documents, whole = text.splitlines(), False
    at = rng.randrange(len(documents))
    document = documents[at] if whole else json.loads(documents[at])
    value = rng.choice(VALUES)
    if isinstance(document, list):
        changed = json.dumps([*document, "HERE"])
    else:
        changed = json.dumps({**document, rng.choice([*document, "unknown"]): "HERE"})
    changed = changed.replace('"HERE"', value)
    if whole:
        return changed
    documents[at] = changed
    return "\n".join(documents) + "\n"


def damaged_homes(count: int, seed: int, folder: Path) -> Iterator[tuple[str, TrainServer, Path]]:
    """(how it is damaged, the server, the damaged file): two trainings and all that lies beside."""
    rng = random.Random(seed)
    for number in range(count):
        home = folder / str(number)
        server = server_of(home)
        make_job(server.queue, "sound", 1.0)
        hurt = make_job(server.queue, "hurt", 2.0, rng.choice(["ended", "waiting", "running"]))
        beside = {
            "recipes/bad.json": {"network_dim": 3},
            "recipes/good.json": {"network_dim": 7},
            "opened.json": [str(home / "pictures")],
            "model_folders.json": [str(home / "models")],
            "jobs/published.json": {str(home / "loras" / "sound.safetensors"): [[1, 2]]},
            "jobs/speeds.json": {"cpu": 0.5},
        }
        for name, content in beside.items():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_text(json.dumps(content))
        (home / "lbwpresets.txt").write_text("MINE:1,1,1,1,1,1,1,1,1,1,1,1\n")
        beside.pop("recipes/good.json")
        own = (hurt.folder / name for name in ("job.json", "status.json", "hurt.job/events.jsonl"))
        files = [*own, *(home / name for name in beside)]
        file = files[number % len(files)]
        yield f"{number}: {damage(file, rng)}", server, file
        shutil.rmtree(home)


def attack(count: int, seed: int, folder: Path) -> Tally:
    """`count` damaged files, one a time: the page opens, and all else is there as it was."""
    tally = Tally()
    for what, server, file in damaged_homes(count, seed, folder):
        tally.tried["damaged files"] += 1
        with tally.expecting_sentences(what):
            opened = ask(server, "open")
            jobs = {job["id"]: job for job in opened.get("jobs", ())}
            kept = {
                "the other training": jobs.get("sound", {}).get("state") == "failed",
                "its end": ask(server, "watch", job="sound")["ending"]["text"] == "Over.",
                "the other recipe": opened["recipes"]["good"]["network_dim"] == 7,
                "the queue": {job.id for job in server.queue.waiting()} <= {"hurt"},
                "the damaged training, by its name": "hurt" in jobs or file.name == "status.json",
                "the estimates": "error" not in ask(server, "loras"),
            }
            if "hurt" in jobs:
                kept["a look at it"] = "error" not in ask(server, "watch", job="hurt")
                ask(server, "resume", job="hurt")
                left = [job["id"] for job in ask(server, "forget", job="hurt")["jobs"]]
                kept["its removal"] = left == ["sound"]
            for thing, is_kept in kept.items():
                if not is_kept:
                    tally.fail("lost", f"{thing}: {what}")
            for refused in (ask(server, "open"), ask(server, "bases"), ask(server, "new_set")):
                if "nobody foresaw" in refused.get("error", "") or "not understood" in refused.get(
                    "error", ""
                ):
                    tally.fail("exceptions", f"{refused['error']}: {what}")
    return tally
