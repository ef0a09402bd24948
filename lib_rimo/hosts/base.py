"""What Rimo needs of a host, and which host this is."""

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from lib_rimo.weights.presets import Presets


class Host(Protocol):
    """A WebUI that Rimo runs in."""

    name: str

    def install(self) -> None:
        """Take over what block weights need; to be called once each time scripts are loaded."""

    def uninstall(self) -> None:
        """Put everything back."""

    def forget(self, name: str) -> None:
        """Drop what the host remembers of a LoRA whose file has been replaced."""

    def process(self, p: Any) -> None:
        """A picture's prompts are complete: write an X/Y/Z plot's values into them."""

    def presets(self) -> Presets:
        """All named block weights."""

    def save_preset(self, name: str, values: str) -> None:
        """Keep block weights under a name; raises UserError."""

    def lora_path(self, name: str) -> Path | None:
        """The file that a tag of this name loads."""

    def panel_notes(self) -> Sequence[str]:
        """Sentences for the panel, such as which extension handles block weights."""


def detect(webui: Path) -> str | None:
    """Which host a WebUI's root folder holds: "a1111", "forge", or None for an unknown one.

    Told by what is there: forks share version tags with what they came from.
    """
    if (webui / "modules_forge").is_dir():
        return "forge" if (webui / "backend").is_dir() else None
    return "a1111" if (webui / "modules").is_dir() else None


def connect(webui: Path) -> Host | None:
    """The adapter for the WebUI with that root folder, not installed yet.

    None when the WebUI is an unknown one, or its Lora extension is switched off.
    """
    host = detect(webui) if "extra_networks_lora" in sys.modules else None
    if host == "a1111":
        from lib_rimo.hosts.a1111 import A1111

        return A1111()
    if host == "forge":
        from lib_rimo.hosts.forge import Forge

        return Forge()
    return None


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
