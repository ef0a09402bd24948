"""What differs between the versions of Gradio that hosts bring: 3.41.2, 4.40.0 and newer ones."""

from typing import Any

import gradio

MAJOR = int(gradio.__version__.partition(".")[0])


def run_url(api_name: str) -> str:
    """Where a page posts `{"data": [...]}` to call an event by its `api_name`, as a relative URL.

    The event has to be made with `queue=False`.
    """
    return f"./gradio_api/run/{api_name}" if MAJOR >= 5 else f"./run/{api_name}"


def has_session(app: Any, request: Any) -> bool:
    """Whether a request carries the cookie of a visitor who has logged in to the page."""
    return any(
        name.startswith("access-token") and app.tokens.get(value)
        for name, value in request.cookies.items()
    )
