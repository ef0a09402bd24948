"""How callbacks are registered with a WebUI."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def register(script_callbacks: Any, **callbacks: Callable[..., Any]) -> None:
    """Register callbacks by the names that a WebUI has for them, such as `on_before_ui`.

    For each of them the WebUI looks up the module of every frame of the stack, among all modules
    where it is one without a name, such as a script: tens of milliseconds on the deep stack on
    which it runs scripts, and next to nothing here, on one of its own.
    """

    def call() -> None:
        for name, callback in callbacks.items():
            getattr(script_callbacks, name)(callback)

    with ThreadPoolExecutor(1) as threads:
        threads.submit(call).result()
