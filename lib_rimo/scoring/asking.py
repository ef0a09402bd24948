"""A search as a process of its own that has its pictures drawn by whoever started it.

The search runs with the trainer's libraries, a WebUI's model stays the WebUI's: it is asked for
each picture in a line of JSON, `{"kind": "draw", "prompt": ..., "seed": ..., "file": ...}`, writes
the picture into that file and answers with a line, `{}`. `{"stop": true}` in place of an answer
ends the search with the best so far; `{"error": text}` is why a picture could not be drawn.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from PIL import Image

from lib_rimo.errors import UserError
from lib_rimo.training.data.image_files import open_image
from lib_rimo.training.events import print_json


class StopSearchError(Exception):
    """The search was asked to stop: the best so far is wanted."""


class AskingDrawer:
    """Asks the process that started this one."""

    def __init__(self, identity: str, answers: TextIO = sys.stdin) -> None:
        """`identity` stands for all that the pictures depend on beside prompt and seed."""
        self._identity, self._answers = identity, answers

    def draw(self, prompt: str, seeds: Sequence[int]) -> list[Image.Image]:
        """A picture for each seed. Raises UserError or StopSearchError where that is answered."""
        pictures = []
        with tempfile.TemporaryDirectory() as folder:
            for seed in seeds:
                file = Path(folder) / f"{seed}.png"
                print_json({"kind": "draw", "prompt": prompt, "seed": seed, "file": str(file)})
                self.wait()
                pictures.append(open_image(file).convert("RGB"))
        return pictures

    def identity(self) -> str:
        """As it was given."""
        return self._identity

    def wait(self) -> None:
        """Wait for an answer. Raises UserError or StopSearchError where it is none to go on by."""
        line = self._answers.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"stop": True}
        if answer.get("stop"):
            raise StopSearchError
        if "error" in answer:
            raise UserError("No picture could be drawn: {error}", error=answer["error"])
