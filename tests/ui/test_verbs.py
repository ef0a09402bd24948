"""Verbs that the page runs: watched, stopped, and what they told."""

import argparse
import json
import shutil
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from lib_rimo.commands import augment, mask
from lib_rimo.demo.rimochan_pictures import FOLDER
from lib_rimo.errors import UserError
from lib_rimo.messages import AS_JSON, Message
from lib_rimo.training.augment import augmentation
from lib_rimo.ui import verbs as verbs_module
from lib_rimo.ui.verbs import Verbs
from tests.training.augment.test_scenes import BLUE
from tests.training.conftest import pictures  # noqa: F401

EVENT = {"kind": "progress", "what": Message("Places drawn").as_json(), "done": 1, "total": 4}
TOLD = Message("No caption: {names}.", level="warning", names=["1.png"])


@pytest.fixture
def verbs(monkeypatch):
    """Runs Python code in place of verbs."""
    monkeypatch.setattr(verbs_module, "check_ready", lambda _: None)
    monkeypatch.setattr(verbs_module, "command_line", lambda _, code: [sys.executable, "-c", *code])
    return Verbs(SimpleNamespace(python=None))


def printing(*lines):
    return [f"print({line!r}, flush=True)" for line in lines]


def until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_a_verb_tells_is_told_without_its_progress(verbs):
    lines = printing(
        json.dumps(EVENT | {"seconds_left": None}), "a path", json.dumps(TOLD.as_json())
    )
    assert verbs.run(["; ".join(lines)], "mine") == [TOLD]
    assert verbs.do_verb({"ticket": "mine"}) == {"progress": None}  # it is over


def test_a_verb_that_goes_on_is_watched_and_stopped_by_its_ticket(verbs):
    lines = [*printing(json.dumps(EVENT | {"seconds_left": 9.5})), "import time; time.sleep(600)"]
    ended = []

    def run():
        with pytest.raises(UserError, match="Stopped; asked for again, it goes on"):
            verbs.run(["; ".join(lines)], "mine")
        ended.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    until(lambda: verbs.do_verb({"ticket": "mine"})["progress"])
    progress = verbs.do_verb({"ticket": "mine"})["progress"]
    assert (progress["done"], progress["total"], progress["seconds_left"]) == (1, 4, 9.5)
    assert progress["what"]["template"] == "Places drawn"
    assert verbs.do_verb({"ticket": "another's"}) == {"progress": None}
    verbs.do_stop_verb({"ticket": "another's"})
    assert thread.is_alive()
    verbs.do_stop_verb({"ticket": "mine"})
    thread.join(60)
    assert ended == [True]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            f"import sys; print({json.dumps(TOLD.as_json())!r}, file=sys.stderr); sys.exit(1)",
            "1.png",
        ),
        ("raise OSError('no room')", "It broke off: OSError: no room"),
        ("import sys; sys.exit(3)", "It broke off: -"),
    ],
)
def test_why_a_verb_failed_is_told(verbs, code, said):
    with pytest.raises(UserError, match=said):
        verbs.run([code])


def parsed(module, *words):
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return parser.parse_args(list(map(str, words)))


def events(printed):
    lines = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("kind") == "progress"]


def test_augment_tells_a_program_how_far_it_is(pictures, tmp_path, monkeypatch, capsys):  # noqa: F811
    def draw(*arguments):
        progress = arguments[-1]
        for done in range(3):
            progress(done, 2)
        return [BLUE, BLUE]

    monkeypatch.setattr(augmentation, "draw_scenes", draw)
    base = tmp_path / "base.safetensors"
    monkeypatch.setattr(augmentation, "native_of", lambda _: None)
    words = (pictures, tmp_path / "made", "--count", 5, "--resolution", "64", "--scenes", 2)
    for as_json in ("json", ""):
        monkeypatch.setenv(AS_JSON, as_json)
        assert augment.run(parsed(augment, *words, "--model", base)) == 0
        told = events(capsys.readouterr().out)
        if not as_json:
            assert told == []  # a person sees a bar
            continue
        steps = [(event["what"]["template"], event["done"], event["total"]) for event in told]
        assert steps == [
            *(("Places drawn", done, 2) for done in range(3)),
            *(("Pictures made", done, 5) for done in range(1, 6)),
        ]
        assert told[0]["seconds_left"] is None
        assert told[1]["seconds_left"] >= 0
        assert told[2]["seconds_left"] == 0


def test_mask_tells_a_program_how_far_it_is(tmp_path, monkeypatch, capsys):
    five = shutil.copytree(FOLDER, tmp_path / "five")
    monkeypatch.setenv(AS_JSON, "json")
    assert mask.run(parsed(mask, five)) == 0
    steps = [(event["done"], event["total"]) for event in events(capsys.readouterr().out)]
    assert steps == [(done, 5) for done in range(6)]
