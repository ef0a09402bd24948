"""Looking at a WebUI's page, and leaving it so that the WebUI can still end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tests.webui.server import PATIENCE

# By the page's own clock, which is late on a busy machine: it asks for a prompt's tokens 0.8 s
# after the last key.
PAUSE = "() => new Promise((resolve) => setTimeout(resolve, 1200))"


@contextmanager
def visit(browser, **settings: Any) -> Iterator[Any]:
    """A page of a browser, left when the WebUI has answered all that it asked.

    Gradio 3 (3.41.2, also by itself) never ends the task of an event whose page went away before
    its data were fetched. "Reload UI" waits for all tasks, and so for ever.
    """
    from playwright.sync_api import Error  # which is there where a browser is

    page = browser.new_page(**settings)
    asking: list[Any] = []  # Gradio 3 opens a socket an event
    page.on("websocket", lambda socket: asking.append(socket))
    try:
        yield page
    finally:
        deadline = time.monotonic() + PATIENCE
        with suppress(Error):  # a page that is not there any more
            page.evaluate(PAUSE)
            while not all(socket.is_closed() for socket in asking) and time.monotonic() < deadline:
                page.evaluate(PAUSE)
        page.close()
