"""What a search found, as it is told: a tag and why, a table, strips of pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from lib_rimo.files import written_beside
from lib_rimo.messages import Message
from lib_rimo.scoring.block_search import Effect
from lib_rimo.scoring.trials import Result, State

FILE = "result.json"


@dataclass
class Finding:
    """The result of `choose` or `blocks`; `tag` is empty where none is better than what there was.

    `strips` are the files of pictures in the search's folder, by what they show.
    """

    state: State
    messages: Sequence[Message]
    results: Sequence[Result]
    effects: Sequence[Effect] = ()
    strips: dict[str, Path] = field(default_factory=dict)
    is_whole: bool = True
    """Whether the search came to its end."""

    def add_strip(self, name: str, picture: Image.Image, folder: Path) -> None:
        """Keep a strip of pictures as `<name>.png`."""
        file = folder / f"{name}.png"
        with written_beside(file) as beside:
            picture.save(beside, format="PNG")
        self.strips[name] = file

    def as_json(self) -> dict[str, Any]:
        """For the page and the API."""
        return {
            "tag": self.state.tag,
            "lora": self.state.file.stem,
            "blocks": self.state.blocks,
            "strength": self.state.strength,
            "messages": [message.as_json() for message in self.messages],
            "table": [
                {
                    "tag": result.state.tag,
                    "fit": round(result.score.fit, 4),
                    "keeping": round(result.score.keeping, 4),
                    "pictures": result.pictures,
                }
                for result in self.results
            ],
            "effects": [
                {
                    "block": effect.block,
                    "fit_lost": round(effect.fit_lost, 4),
                    "keeping_gained": round(effect.keeping_gained, 4),
                }
                for effect in self.effects
            ],
            "strips": {name: file.name for name, file in self.strips.items()},
            "is_whole": self.is_whole,
        }

    def write(self, folder: Path) -> Path:
        """Keep it as `result.json`, whole or not at all."""
        with written_beside(folder / FILE) as beside:
            beside.write_text(json.dumps(self.as_json(), ensure_ascii=False), encoding="utf-8")
        return folder / FILE

    def text(self) -> str:
        """For the terminal."""
        parts = [effects_table(self.effects)] if self.effects else []
        parts += [table(self.results), "\n".join(map(str, self.messages))]
        parts += [f"{self.state.tag}", *(str(file) for file in self.strips.values())]
        return "\n\n".join(parts)


def table(results: Sequence[Result]) -> str:
    """Results as lines of text."""
    width = max(len(result.state.tag) for result in results)
    head = f"{'':{width}}   fit  keeping  pictures"
    lines = [
        f"{result.state.tag:{width}}  {result.score.fit:4.2f}  {result.score.keeping:7.2f}"
        f"  {result.pictures:8}"
        for result in results
    ]
    return "\n".join([head, *lines])


def effects_table(effects: Sequence[Effect]) -> str:
    """What each block does, as lines of text."""
    lines = [
        f"{effect.block:5}  {effect.fit_lost:8.0%}  {effect.keeping_gained:+14.2f}"
        for effect in effects
    ]
    return "\n".join(["off    fit lost  keeping gained", *lines])
