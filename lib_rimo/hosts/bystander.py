"""What is left of block weights where the host cannot be given them: to say so, and do no harm."""

import importlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lib_rimo.hosts import lbw
from lib_rimo.hosts.activation import tell
from lib_rimo.messages import Message
from lib_rimo.weights.presets import Presets, load_presets, save_preset
from lib_rimo.weights.tags import LoraTag, edit_tags


class Bystander:
    """The adapter for a WebUI in which nothing is replaced.

    A host that meets block values which it cannot read drops every LoRA of the prompt. So they are
    taken out of the prompt, and each LoRA acts with the strength that its tag has.
    """

    name = "bystander"

    def __init__(self, reason: Message) -> None:
        """`reason`: why block weights do not act, without a full stop."""
        self.message = Message(
            "Block weights do not act here: {reason}. LoRAs act with one strength in all blocks.",
            reason=reason,
        )
        self._home = Path(importlib.import_module("modules.paths").data_path) / "rimo"

    def install(self) -> None:
        """Say it on the console."""
        print(f"Rimo: {self.message}")

    def uninstall(self) -> None:
        """Nothing was replaced."""

    def forget(self, name: str) -> None:
        """The host looks after its files."""

    def process(self, p: Any) -> None:
        """A picture's prompts are complete: take block values out of them, and say so."""
        if lbw.is_active(p):
            return  # it reads the same vectors
        presets = self.presets()
        before = [p.all_prompts, getattr(p, "all_hr_prompts", None) or []]
        after = [[_without_blocks(text, presets) for text in prompts] for prompts in before]
        if after == [list(prompts) for prompts in before]:
            return
        p.all_prompts = after[0]
        if after[1]:
            p.all_hr_prompts = after[1]
        tell(p, self.message)

    def presets(self) -> Presets:
        """All named block weights."""
        return load_presets([self._home])

    def save_preset(self, name: str, values: str) -> None:
        """Keep block weights under a name; raises UserError."""
        save_preset(self._home, name, values)

    def lora_path(self, name: str) -> Path | None:
        """The file that a tag of this name loads, where the host tells."""
        aliases = getattr(sys.modules.get("networks"), "available_network_aliases", {})
        known = aliases.get(name)
        return None if known is None else Path(known.filename)

    def panel_messages(self) -> Sequence[Message]:
        """That block weights do not act."""
        return (self.message,)


def _without_blocks(text: str, presets: Presets) -> str:
    return edit_tags(text, _plain, presets)


def _plain(tag: LoraTag) -> LoraTag:
    return tag if tag.blocks is None else replace(tag, blocks=None, inherited=None)
