"""The HTTP API: what it offers, whom it lets in, and what it keeps to itself."""

import dataclasses
import json
from pathlib import Path

import pytest

fastapi = pytest.importorskip("fastapi")

from fastapi.testclient import TestClient  # noqa: E402

from lib_rimo.hosts.standalone import Standalone  # noqa: E402
from lib_rimo.hosts.training import BaseModel  # noqa: E402
from lib_rimo.ui.api import Guard, add_routes  # noqa: E402
from lib_rimo.ui.train_server import TrainServer  # noqa: E402
from tests.training.conftest import (  # noqa: E402 - fixtures
    narrow_sd1,  # noqa: F401
    options,  # noqa: F401
    pictures,  # noqa: F401
    small_training,  # noqa: F401
)


@pytest.fixture
def server(tmp_path, monkeypatch):
    server = TrainServer(Standalone(tmp_path / "home"))
    monkeypatch.setattr(server.queue, "ensure_running", lambda: None)
    return server


def client_of(server, guard=None):
    app = fastapi.FastAPI()

    @app.get("/{everything:path}")
    def page(everything):
        return "page"

    add_routes(app, server, guard or Guard())
    return TestClient(app)


@pytest.fixture
def client(server):
    return client_of(server)


def test_start_show_stop(client, options):  # noqa: F811
    given = dataclasses.asdict(options)
    job = client.post("/rimo/v1/jobs", json={"options": given}).json()
    assert (job["name"], job["state"]) == ("small", "waiting")
    assert [known["id"] for known in client.get("/rimo/v1/jobs").json()] == [job["id"]]
    shown = client.get(f"/rimo/v1/jobs/{job['id']}").json()
    assert shown["steps"] == 6
    assert client.post(f"/rimo/v1/jobs/{job['id']}/save").status_code == 400
    assert client.post(f"/rimo/v1/jobs/{job['id']}/stop").json()["state"] == "stopped"
    assert client.post(f"/rimo/v1/jobs/{job['id']}/resume").json()["state"] == "waiting"


def test_a_model_has_the_name_that_the_host_lists_and_what_it_needs(client, server, options):  # noqa: F811
    path = Path(options.pretrained_model_name_or_path)
    names = ("old/anime.safetensors", "old/anime.safetensors [abc]", "anime", "abc")
    needed = {"network_dim": 3, "resolution": "128"}
    listed = BaseModel("old/anime", path, needed, names=names)
    others = [
        BaseModel(f"{folder}/other", Path(f"/{folder}/other.safetensors"), names=("other",))
        for folder in ("old", "new")
    ]
    server.host.base_models = lambda: [listed, *others]
    given = {
        "train_data_dir": options.train_data_dir,
        "output_name": "small",
        "resolution": "64",
    }
    for number, name in enumerate(("old/anime", path.name, str(path), *names)):
        asked = {**given, "output_name": f"small{number}", "pretrained_model_name_or_path": name}
        reply = client.post("/rimo/v1/jobs", json={"options": asked})
        assert reply.status_code == 200, reply.text
        started = server.queue.job(reply.json()["id"]).options
        assert started.pretrained_model_name_or_path == str(path)
        assert (started.network_dim, started.resolution) == (3, "64")
    for name, said in (("nobody's", "nobody's"), ("other", "any of old/other, new/other")):
        asked["pretrained_model_name_or_path"] = name
        reply = client.post("/rimo/v1/jobs", json={"options": asked})
        assert (reply.status_code, said in reply.json()["detail"]) == (400, True), reply.text


def test_errors_are_sentences(client, options):  # noqa: F811
    given = {**dataclasses.asdict(options), "network_dim": 0}
    reply = client.post("/rimo/v1/jobs", json={"options": given})
    assert reply.status_code == 400
    assert reply.json()["detail"].startswith("network_dim is 0: use at least 1")
    (message,) = reply.json()["messages"]
    assert (message["about"], message["level"]) == ("network_dim", "error")
    assert client.post("/rimo/v1/jobs", content="{}").status_code == 422
    assert client.get("/rimo/v1/jobs/none").status_code == 404


def test_events_are_streamed_from_where_one_left_off(client, server, options):  # noqa: F811
    job = server.jobs.start(dataclasses.asdict(options))
    events = [{"kind": "warning", "time": 1.0, "text": text} for text in ("one", "two\n", "three")]
    job.training_folder.mkdir()
    path = job.training_folder / "events.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    job.give("stop")
    reply = client.get(f"/rimo/v1/jobs/{job.id}/events")
    assert reply.headers["content-type"].startswith("text/event-stream")
    data = [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: ")]
    assert data == events
    last = next(line[4:] for line in reply.text.splitlines() if line.startswith("id: "))
    with path.open("a") as file:
        file.write(json.dumps(events[0]) + "\n")
    again = client.get(f"/rimo/v1/jobs/{job.id}/events", headers={"Last-Event-ID": last})
    assert again.text.count("data: ") == 1


def test_only_samples_are_served(client, server, options, tmp_path):  # noqa: F811
    job = server.jobs.start(dataclasses.asdict(options))
    inside, outside = job.folder / "sample" / "a.png", tmp_path / "outside.png"
    inside.parent.mkdir()
    for path in (inside, outside):
        path.write_bytes(b"picture")
    (job.folder / "sample" / "link.png").symlink_to(outside)
    job.training_folder.mkdir()
    told = [inside, outside, job.folder / "sample" / "link.png"]
    (job.training_folder / "events.jsonl").write_text(
        "".join(
            json.dumps({"kind": "sample", "time": 1.0, "step": 1, "path": str(path)}) + "\n"
            for path in told
        )
    )
    base = f"/rimo/v1/jobs/{job.id}/samples"
    assert {"step": 1, "name": "a.png"} in client.get(base).json()
    assert client.get(f"{base}/a.png").content == b"picture"
    for name in ("outside.png", "link.png", "..%2f..%2fjob.json", "job.json"):
        assert client.get(f"{base}/{name}").content != b"picture", name


def test_logins_are_asked_for(server):
    def has_cookie(request):
        return request.cookies.get("access-token") == "known"

    client = client_of(server, Guard({"user": "password"}, has_cookie))
    for method, path in (("GET", "/rimo/v1/jobs"), ("POST", "/rimo/v1/jobs/x/stop")):
        assert client.request(method, path).status_code == 401
        assert client.request(method, path, auth=("user", "wrong")).status_code == 401
        assert client.request(method, path, auth=("other", "password")).status_code == 401
    assert client.get("/rimo/v1/jobs", auth=("user", "password")).status_code == 200
    assert client.get("/rimo/v1/jobs", headers={"Cookie": "access-token=known"}).status_code == 200


def test_the_openapi_page_describes_it(client):
    paths = client.get("/openapi.json").json()["paths"]
    for path, method in (
        ("/rimo/v1/jobs", "post"),
        ("/rimo/v1/jobs", "get"),
        ("/rimo/v1/jobs/{job}", "get"),
        ("/rimo/v1/jobs/{job}/events", "get"),
        ("/rimo/v1/jobs/{job}/{command}", "post"),
        ("/rimo/v1/jobs/{job}/samples", "get"),
    ):
        assert paths[path][method]["summary"]
