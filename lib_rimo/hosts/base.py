"""What Rimo needs of a host."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from lib_rimo.messages import Message
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

    def panel_messages(self) -> Sequence[Message]:
        """What the panel tells of the host, such as which extension handles block weights."""
