"""A search over a LoRA's states through a real WebUI: the best saved step and strength."""

import time

import pytest

from tests.webui.server import PATIENCE
from tests.webui.training import few_steps, train

TINY = {"steps": 1, "width": 64, "height": 64, "sampler": "Euler"}


def wait_for(server, search, state):
    deadline = time.monotonic() + 10 * PATIENCE  # a hundred pictures or more
    while time.monotonic() < deadline:
        shown = server._json(f"rimo/v1/searches/{search}")
        if shown["state"] == state:
            return shown
        assert shown["state"] in ("preparing", "planned", "running"), shown["messages"]
        time.sleep(1)
    pytest.fail(f"{search} did not become {state}: {shown}")


def test_the_best_saved_step_is_found(server):
    before = server.draw("a cat")
    job = train(server, few_steps(server, output_name="found", save_every_n_steps=2))
    order = {"kind": "choose", "job": job, "settings": TINY}
    search = server._json("rimo/v1/searches", order)["id"]
    planned = wait_for(server, search, "planned")
    assert planned["pictures"] > 0
    server._json(f"rimo/v1/searches/{search}/go", {})
    best = wait_for(server, search, "finished")["result"]
    assert best["tag"].startswith("<lora:found")
    assert "choice" in best["strips"]
    assert server.draw("a cat") == before
    assert server.draw(f"a cat {best['tag']}") != before
