"""What differs between the versions of Gradio that hosts bring: 3.41.2, 4.40.0 and newer ones."""

from collections.abc import Callable
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


def for_visitors(answer: Callable[[str], str], refuse: Callable[[Any], str | None]) -> Any:
    """An event's function that answers whom `refuse` has no answer for.

    `refuse` gets the request that called the event.
    """

    # Gradio looks at the annotation for where to put the request.
    def answer_visitor(asked: str, visitor: gradio.Request) -> str:
        return refuse(visitor) or answer(asked)

    return answer_visitor
