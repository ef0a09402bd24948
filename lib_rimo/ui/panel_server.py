"""What the block weights panel asks for: presets, facts of files, what to tell of tags."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

from lib_rimo.errors import UserError
from lib_rimo.lora.blocks import FAMILY_LAYOUTS, UNET_FAMILIES, UNET_LAYOUTS
from lib_rimo.lora.facts import LoraFacts, read_facts, read_foreign_model
from lib_rimo.messages import Message
from lib_rimo.ui.replies import as_json
from lib_rimo.unforeseen import as_user_error
from lib_rimo.weights.grammar import parse_blocks
from lib_rimo.weights.presets import Presets
from lib_rimo.weights.tags import find_extra_networks, parse_prompt


class PanelHost(Protocol):
    """What the panel asks its host."""

    def presets(self) -> Presets:
        """All named block weights."""

    def save_preset(self, name: str, values: str) -> None:
        """Keep block weights under a name; raises UserError."""

    def lora_path(self, name: str) -> Path | None:
        """The file that a tag of this name loads."""

    def panel_messages(self) -> Sequence[Message]:
        """What to tell of the host, such as which extension handles block weights."""


def answer(host: PanelHost, request: str) -> str:
    """Answer the page, JSON in and out.

    `{"prompt": text}` gives the presets, the facts of the files that the prompt names, and
    messages on its tags and the host; `{"save": [name, values]}` keeps a preset first.
    """
    try:
        return _answer(host, request)
    except Exception as error:
        return refusal(as_user_error(error))


def _answer(host: PanelHost, request: str) -> str:
    asked = json.loads(request)
    messages: list[Message] = []
    if "save" in asked:
        try:
            name, values = asked["save"]
            weights = replace(parse_blocks(str(values), Presets()), source="")
            host.save_preset(str(name), weights.text)
        except UserError as error:
            messages += error.messages
    presets = host.presets()
    files: dict[str, LoraFacts | None] = {}
    for network in find_extra_networks(str(asked.get("prompt", ""))):
        _, tags, found = parse_prompt(network.text, presets)
        messages += found
        for tag in tags:
            if tag.name not in files:
                path = host.lora_path(tag.name)
                files[tag.name] = None if path is None else read_facts(path)
                messages += _messages_on_file(tag.name, path, files[tag.name])
            known = files[tag.name]
            if tag.blocks is not None and known is not None:
                messages += tag.blocks.messages_on(known.blocks, known.family, tag.name)
    return json.dumps(
        {
            "presets": dict(presets.blocks),
            "files": {name: _as_json(known) for name, known in files.items()},
            "messages": as_json([*messages, *host.panel_messages()]),
        }
    )


def refusal(error: UserError) -> str:
    """What the page is answered where it gets nothing but messages."""
    return json.dumps({"presets": {}, "files": {}, "messages": as_json(error.messages)})


def _messages_on_file(name: str, path: Path | None, facts: LoraFacts | None) -> list[Message]:
    if path is None:
        return [Message("{name}: there is no such LoRA file.", name=name)]
    if facts is not None and facts.family not in UNET_FAMILIES:
        plain, whole = FAMILY_LAYOUTS[facts.family]
        return [
            Message(
                "{name} was made for {family}, whose blocks have no sliders: write {plain} or "
                "{whole} block values, or single ones, into the prompt.",
                name=name,
                family=facts.family,
                plain=plain,
                whole=whole,
                level="note",
            )
        ]
    model = None if facts is not None else read_foreign_model(path)
    if model is None:
        return []
    other = "{name} was made for {model}, not for Stable Diffusion."
    return [Message(other, name=name, model=model, level="warning")]


def _as_json(facts: LoraFacts | None) -> dict[str, Any] | None:
    """The facts that the sliders show: they are those of a UNet's blocks."""
    if facts is None or facts.layout not in UNET_LAYOUTS:
        return None
    return {**asdict(facts), "layout": facts.layout}
