"""Our own generator as one who draws for the searches."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

from PIL import Image

from lib_rimo.inference.generation import Generator
from lib_rimo.inference.infotext import Settings
from lib_rimo.sd.model_file import model_hash


class GeneratorDrawer:
    """Draws with a generator; the model is the base's own again after each picture."""

    def __init__(self, generator: Generator, settings: Settings) -> None:
        self._generator, self._settings = generator, settings
        self._model = model_hash(generator.checkpoint.path)

    def draw(self, prompt: str, seeds: Sequence[int]) -> list[Image.Image]:
        """A picture for each seed, with the settings that were given."""
        pictures = [
            picture.image
            for seed in seeds
            for picture in self._generator.draw(replace(self._settings, prompt=prompt, seed=seed))
        ]
        self._generator.merger.clear()
        return pictures

    def identity(self) -> str:
        """The model's hash and all settings but prompt and seed."""
        same = replace(self._settings, prompt="", seed=0)
        return json.dumps([self._model, asdict(same)])
