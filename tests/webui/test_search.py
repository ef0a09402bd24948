"""Searches over a LoRA's states through a real WebUI: the best saved step and strength."""

import time

import pytest

from tests.webui.server import PATIENCE
from tests.webui.training import few_steps, train

TINY = {"steps": 1, "width": 64, "height": 64, "sampler": "Euler"}


@pytest.fixture(scope="module")
def job(server):
    """A training with two saved steps."""
    return train(server, few_steps(server, output_name="found", save_every_n_steps=2))


def begin(server, job, **settings):
    """Plan a search; with other settings it is another one, which has no pictures yet."""
    order = {"kind": "choose", "job": job, "settings": TINY | settings}
    return server._json("rimo/v1/searches", order)["id"]


def go(server, search):
    server._json(f"rimo/v1/searches/{search}/go", {})


def wait_for(server, search, is_reached):
    deadline = time.monotonic() + 10 * PATIENCE  # a hundred pictures or more
    while time.monotonic() < deadline:
        shown = server._json(f"rimo/v1/searches/{search}")
        if is_reached(shown):
            return shown
        assert shown["state"] in ("preparing", "planned", "running"), shown["messages"]
        time.sleep(0.5)
    pytest.fail(f"{search} did not come so far: {shown}")


def state(wanted):
    return lambda shown: shown["state"] == wanted


def pictures_of(server, search):
    """The pictures that a search has kept, and when each was drawn."""
    folder = server.data / "rimo" / "searches" / search / "pictures"
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.png")}


def test_a_search_goes_on_after_a_restart(server, job):
    search = begin(server, job, cfg_scale=5)
    wait_for(server, search, state("planned"))
    go(server, search)
    wait_for(server, search, lambda shown: shown["done"] >= 6)
    server.stop()
    before = pictures_of(server, search)
    assert len(before) >= 6
    server.start()

    assert begin(server, job, cfg_scale=5) == search
    assert wait_for(server, search, state("planned"))["seconds_left"] is None  # it drew none of two
    go(server, search)
    wait_for(server, search, lambda shown: len(pictures_of(server, search)) > len(before))
    server._json(f"rimo/v1/searches/{search}/stop", {})
    wait_for(server, search, state("stopped"))
    assert before.items() <= pictures_of(server, search).items()  # nothing was drawn twice


def test_the_best_saved_step_is_found(server, job):
    before = server.draw("a cat")
    search = begin(server, job)
    assert wait_for(server, search, state("planned"))["pictures"] > 0
    go(server, search)
    server.call("interrupt", {})  # one of its pictures, which is drawn again
    best = wait_for(server, search, state("finished"))["result"]
    assert best["tag"].startswith("<lora:found")
    assert "choice" in best["strips"]
    assert server.draw("a cat") == before
    assert server.draw(f"a cat {best['tag']}") != before


def test_it_ends_with_a_sentence_where_other_pictures_would_be_drawn(server, job):
    search = begin(server, job, steps=2)
    wait_for(server, search, state("planned"))
    server.call("options", {"CLIP_stop_at_last_layers": 2})
    try:
        go(server, search)
        (told,) = wait_for(server, search, state("failed"))["messages"]
        assert told["text"].startswith("Clip skip changed in the WebUI")
    finally:
        server.call("options", {"CLIP_stop_at_last_layers": 1})
