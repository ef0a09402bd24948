"""Looking at a WebUI's page, and leaving it so that the WebUI can still end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.webui.server import PATIENCE

PAUSE = 1.2  # seconds; the page asks for a prompt's tokens 0.8 seconds after the last key


@contextmanager
def visit(browser, **settings: Any) -> Iterator[Any]:
    """A page of a browser, left when the WebUI has answered all that it asked.

    Gradio 3 (3.41.2, also by itself) never ends the task of an event whose page went away before
    its data were fetched; it prints "1001". "Reload UI" waits for all tasks, and so for ever.
    """
    page = browser.new_page(**settings)
    asking: list[Any] = []  # Gradio 3 opens a socket an event
    page.on("websocket", lambda socket: asking.append(socket))
    try:
        yield page
    finally:
        deadline = time.monotonic() + PATIENCE
        page.wait_for_timeout(1000 * PAUSE)
        while not all(socket.is_closed() for socket in asking) and time.monotonic() < deadline:
            page.wait_for_timeout(1000 * PAUSE)
        page.close()
