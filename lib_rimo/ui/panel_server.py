"""What the block weights panel asks for: presets, facts of files, problems of tags."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

from lib_rimo.errors import UserError
from lib_rimo.lora.facts import LoraFacts, read_facts, read_foreign_model
from lib_rimo.weights.block_weights import parse_blocks
from lib_rimo.weights.presets import Presets
from lib_rimo.weights.tags import parse_prompt


class PanelHost(Protocol):
    """What the panel asks its host."""

    def presets(self) -> Presets:
        """All named block weights."""

    def save_preset(self, name: str, values: str) -> None:
        """Keep block weights under a name; raises UserError."""

    def lora_path(self, name: str) -> Path | None:
        """The file that a tag of this name loads."""

    def panel_notes(self) -> Sequence[str]:
        """Sentences to show, such as which extension handles block weights."""


def answer(host: PanelHost, request: str) -> str:
    """Answer the page, JSON in and out.

    `{"prompt": text}` gives the presets, the facts of the files that the prompt names, and the
    problems of its tags; `{"save": [name, values]}` keeps a preset first.
    """
    asked = json.loads(request)
    problems: list[str] = []
    if "save" in asked:
        try:
            name, values = asked["save"]
            weights = replace(parse_blocks(str(values), Presets()), source="")
            host.save_preset(str(name), weights.text)
        except UserError as error:
            problems.append(str(error))
    presets = host.presets()
    _, tags, found = parse_prompt(str(asked.get("prompt", "")), presets)
    paths = {tag.name: host.lora_path(tag.name) for tag in tags}
    facts = {name: path if path is None else read_facts(path) for name, path in paths.items()}
    problems += [f"{name}: there is no such LoRA file." for name in paths if paths[name] is None]
    for name, path in paths.items():
        model = None if path is None or facts[name] is not None else read_foreign_model(path)
        if model is not None:
            problems.append(f"{name} was made for {model}, not for Stable Diffusion.")
    for tag in tags:
        known = facts[tag.name]
        if tag.blocks is not None and known is not None:
            problems += tag.blocks.problems_on(known.blocks, known.family, tag.name)
    return json.dumps(
        {
            "presets": dict(presets.blocks),
            "files": {name: _as_json(known) for name, known in facts.items()},
            "problems": [*problems, *found],
            "notes": list(host.panel_notes()),
        }
    )


def _as_json(facts: LoraFacts | None) -> dict[str, Any] | None:
    return None if facts is None else {**asdict(facts), "layout": facts.layout}
