"""Searches as the page and the API ask for them; the searching process is a script of the test."""

import json
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from lib_rimo.errors import UserError
from lib_rimo.hosts.standalone import Standalone
from lib_rimo.hosts.training import base_model, on_another_model
from lib_rimo.inference.infotext import Settings
from lib_rimo.training.config.options import TrainingOptions
from lib_rimo.ui.api import Guard, add_routes
from lib_rimo.ui.searches import without_lora
from lib_rimo.ui.train_server import TrainServer

# Asks for one picture before the plan and for two after it; keeps what it was started with.
SEARCH = """
import json, pathlib, sys, time
arguments = sys.argv[1:]
out = pathlib.Path(arguments[arguments.index("--out") + 1])
(out / "arguments.json").write_text(json.dumps(arguments))

def tell(**event):
    print(json.dumps(event), flush=True)

def draw(seed):
    tell(kind="draw", prompt="1girl <lora:rimo:1>", seed=seed, file=str(out / f"{seed}.png"))
    answer = json.loads(sys.stdin.readline() or '{"stop": true}')
    if "error" in answer:
        message = {"template": "No picture could be drawn: {error}", "values": answer}
        print(json.dumps({**message, "level": "error"}), file=sys.stderr)
        sys.exit(2)
    return not answer.get("stop")

print("a library says something")
if "--prompt=slow" in arguments:
    time.sleep(600)
draw(1)
tell(kind="plan", pictures=3, seconds=4.0)
goes_on = not json.loads(sys.stdin.readline() or '{"stop": true}').get("stop")
for seed in (2, 3):
    goes_on = goes_on and draw(seed)
    tell(kind="progress", done=seed, total=3, seconds_left=1.0)
(out / "blocks.png").write_bytes((out / "1.png").read_bytes())
result = {"tag": "<lora:rimo:1:IN08@0>", "is_whole": goes_on, "strips": {"blocks": "blocks.png"}}
(out / "result.json").write_text(json.dumps(result))
tell(kind="result", file=str(out / "result.json"))
"""


class Host(Standalone):
    """Draws red pictures, or fails."""

    def __init__(self, home: Path, python: Path) -> None:
        super().__init__(home)
        self.python = python
        self.drawn: list[Settings] = []
        self.fault: Exception | None = None
        self.options = {"Clip skip": 1}
        self.under: dict[str, int] | None = None
        self.has_begun, self.drawing_now = threading.Event(), threading.Event()
        self.drawing_now.set()

    def picture_options(self):
        return self.options

    def draw_picture(self, settings, model, options=None):
        self.under = options
        if not self.drawing_now.is_set():
            self.has_begun.set()
            self.drawing_now.wait(60)
        if self.fault is not None:
            raise self.fault
        self.drawn.append(settings)
        return Image.new("RGB", (8, 8), "red")


@pytest.fixture
def host(tmp_path):
    script = tmp_path / "search.py"
    script.write_text(SEARCH)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
    python.chmod(0o755)
    host = Host(tmp_path / "home", python)
    host.lora_folder.mkdir(parents=True)
    (host.lora_folder / "rimo.safetensors").write_bytes(b"lora")
    (tmp_path / "pictures").mkdir()
    return host


@pytest.fixture
def server(host):
    return TrainServer(host)


def ask(server, what, **request):
    return json.loads(server.answer(json.dumps({"do": what, **request})))


def wait_for(server, search, *states):
    for _ in range(1200):
        found = ask(server, "search_watch", search=search["id"])
        if found["state"] in states:
            return found
        time.sleep(0.05)
    raise AssertionError(found)


def begin(server, **more):
    request = {
        "kind": "blocks",
        "lora": "rimo",
        "strength": 0.8,
        "prompt": "1girl, <lora:other:1> beach, <lora:rimo:0.8:IN07@0>",
        "pictures": str(server.host.home.parent / "pictures"),
        "settings": {"negative_prompt": "hat", "steps": "12", "sampler": "Euler a", "width": "64"},
    }
    return ask(server, "search", **{**request, **more})


def test_says_how_long_it_takes_and_waits_then_draws_with_the_pages_settings(server, host):
    search = begin(server)
    planned = wait_for(server, search, "planned")
    assert (planned["pictures"], planned["seconds_left"]) == (3, 4.0)
    assert len(host.drawn) == 1
    ask(server, "search_go", search=search["id"])
    found = wait_for(server, search, "finished")
    assert found["result"]["tag"] == "<lora:rimo:1:IN08@0>"
    assert [settings.seed for settings in host.drawn] == [1, 2, 3]
    assert {(s.negative_prompt, s.steps, s.sampler, s.width) for s in host.drawn} == {
        ("hat", 12, "Euler a", 64)
    }
    folder = host.home / "searches" / search["id"]
    arguments = json.loads((folder / "arguments.json").read_text())
    assert arguments[2:4] == ["blocks", "rimo"]
    assert "--prompt=1girl, <lora:other:1> beach" in arguments
    assert "--strength=0.8" in arguments
    strip = ask(server, "search_strip", search=search["id"], name="blocks")
    assert strip["picture"].startswith("data:image/")
    assert "no strip" in ask(server, "search_strip", search=search["id"], name="../1")["error"]


def test_stop_keeps_what_was_found(server, host):
    search = begin(server)
    wait_for(server, search, "planned")
    ask(server, "search_stop", search=search["id"])
    stopped = wait_for(server, search, "stopped")
    assert stopped["result"]["is_whole"] is False
    assert len(host.drawn) == 1


@pytest.mark.parametrize("has_begun", [False, True])
def test_stop_does_not_wait_for_what_prepares(server, host, has_begun):
    search = begin(server, prompt="slow")
    begun = host.home / "searches" / search["id"] / "arguments.json"
    while has_begun and not begun.exists():
        time.sleep(0.05)
    ask(server, "search_stop", search=search["id"])
    assert wait_for(server, search, "stopped")["result"] is None
    assert host.drawn == []


@pytest.mark.parametrize("reached", ["planned", "drawing"])
def test_a_reload_of_the_host_ends_a_search_which_then_goes_on(server, host, reached):
    search = begin(server)
    wait_for(server, search, "planned")
    if reached == "drawing":
        host.drawing_now.clear()
        ask(server, "search_go", search=search["id"])
        assert host.has_begun.wait(60)
    server.searches.abandon()
    host.drawing_now.set()
    assert wait_for(server, search, "stopped")["result"] is None
    again = TrainServer(host)
    assert begin(again)["id"] == search["id"]
    wait_for(again, search, "planned")
    ask(again, "search_go", search=search["id"])
    assert wait_for(again, search, "finished")["result"]["is_whole"]


def test_one_goes_on_at_a_time_and_asking_again_shows_the_same(server):
    search = begin(server)
    wait_for(server, search, "planned")
    assert begin(server)["id"] == search["id"]
    drawing = server.searches.find(search["id"])
    drawing.state = "running"
    assert "Another search is going on" in begin(server, strength=1.0)["error"]
    drawing.state = "planned"
    other = begin(server, strength=1.0)  # the first waits for a page that may be closed
    assert other["id"] != search["id"]
    wait_for(server, search, "stopped")
    wait_for(server, other, "planned")
    ask(server, "search_stop", search=other["id"])
    wait_for(server, other, "stopped")


def test_what_the_host_could_not_draw_is_told(server, host):
    host.fault = RuntimeError("out of memory")
    failed = wait_for(server, begin(server), "failed")
    (message,) = failed["messages"]
    assert message["text"] == "No picture could be drawn: out of memory"


def test_what_the_host_refuses_is_told_in_its_own_sentence(server, host):
    host.fault = UserError("{options} changed in the WebUI.", options="Clip skip")
    failed = wait_for(server, begin(server), "failed")
    (message,) = failed["messages"]
    assert (message["template"], message["values"]) == (
        "{options} changed in the WebUI.",
        {"options": "Clip skip"},
    )


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")
def test_a_search_that_the_system_kills_says_so(server, host):
    search = begin(server)
    wait_for(server, search, "planned")
    server.searches.find(search["id"])._process.kill()
    (message,) = wait_for(server, search, "failed")["messages"]
    assert "memory (RAM) ran out" in message["text"]


def test_pictures_under_other_options_are_another_search(server, host):
    search = begin(server)
    wait_for(server, search, "planned")
    assert host.under == {"Clip skip": 1}
    host.options = {"Clip skip": 2}
    other = begin(server)
    assert other["id"] != search["id"]
    wait_for(server, other, "planned")
    assert host.under == {"Clip skip": 2}
    ask(server, "search_stop", search=other["id"])
    wait_for(server, other, "stopped")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"pictures": ""}, "which folder has the pictures"),
        ({"lora": "none"}, "no such LoRA"),
        ({"kind": "all"}, "no search"),
        ({"model": "none"}, "not among the models"),
        ({"settings": {"width": "1"}}, "sides"),
        ({"settings": {"steps": "many"}}, "not understood"),
    ],
)
def test_refuses_before_anything_is_drawn(server, host, changed, said):
    assert said in begin(server, **changed)["error"]
    assert not host.drawn


@pytest.mark.parametrize(
    ("draws_with_any", "loaded", "base", "is_told"),
    [
        (False, "b", "{folder}/a.safetensors", True),
        (False, "a", "{folder}/a.safetensors", False),
        (False, "a", "a.safetensors", False),  # by its name
        (False, "a", "a", False),
        (False, "a", "/before/it/was/moved/a.safetensors", False),
        (False, None, "{folder}/a.safetensors", False),
        (False, "b", "", False),
        (True, "b", "{folder}/a.safetensors", False),
    ],
)
def test_another_model_than_the_loras_own_is_told(draws_with_any, loaded, base, is_told, tmp_path):
    models = [base_model(tmp_path / f"{loaded}.safetensors")] if loaded else []
    host = SimpleNamespace(draws_with_any=draws_with_any, base_models=lambda: models)
    notes = on_another_model(host, base.format(folder=tmp_path))
    said = "Drawn with b, which is loaded; the LoRA was trained on a, so load"
    assert [note.text()[: len(said)] for note in notes] == ([said] if is_told else [])


def test_a_search_tells_of_another_model_before_it_draws(server, host, monkeypatch):
    host.draws_with_any = False  # as a WebUI
    options = TrainingOptions(pretrained_model_name_or_path="/models/gone.safetensors")
    monkeypatch.setattr(server.searches, "_job_of", lambda name: SimpleNamespace(options=options))
    search = wait_for(server, begin(server), "planned")
    assert "was trained on gone" in search["notes"][0]["text"]
    ask(server, "search_stop", search=search["id"])
    wait_for(server, search, "stopped")


def test_the_training_pictures_of_others_stay_shut(server, host):
    host.is_shared = True
    assert "outside of the folders" in begin(server)["error"]


def test_the_api_searches_too(server, host):
    app = FastAPI()
    add_routes(app, server, Guard())
    client = TestClient(app)
    order = {"kind": "blocks", "lora": "rimo", "pictures": str(host.home.parent / "pictures")}
    search = client.post("/rimo/v1/searches", json=order).json()
    wait_for(server, search, "planned")
    place = f"/rimo/v1/searches/{search['id']}"
    assert client.post(f"{place}/go").json()["state"] in ("running", "finished")
    wait_for(server, search, "finished")
    assert client.get(place).json()["result"]["tag"] == "<lora:rimo:1:IN08@0>"
    assert client.get(f"{place}/strips/blocks").headers["content-type"] == "image/png"
    assert client.get("/rimo/v1/searches/none").status_code == 404
    assert [found["id"] for found in client.get("/rimo/v1/searches").json()] == [search["id"]]


def test_only_the_loras_own_tags_are_left_out():
    prompt = "1girl, <lora:rimo:1:IN07@0>, <lora:rimochan:1>, beach <lyco:rimo:0.5>"
    assert without_lora(prompt, "rimo") == "1girl, , <lora:rimochan:1>, beach"
