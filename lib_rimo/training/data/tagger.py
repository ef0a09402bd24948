"""Proposes booru tags for a picture by a WD14 tagger: an ONNX model and its list of tags.

The models are SmilingWolf's on Hugging Face, trained on Danbooru; `onnx_models` has how they come
here.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from lib_rimo.training.data.captions import join_tags
from lib_rimo.training.data.onnx_models import OnnxModel

MODEL_FILE, TAGS_FILE = "model.onnx", "selected_tags.csv"
MODEL = OnnxModel("SmilingWolf/wd-vit-tagger-v3", (MODEL_FILE, TAGS_FILE), "tag", 380)
THRESHOLD = 0.35
"""Probability from which on a general tag is proposed, as the model's page recommends."""
CHARACTER_THRESHOLD = 0.85
"""The same for names of known characters, which an own character is easily taken for."""

Kind = Literal["general", "character", "rating"]
_KINDS: dict[str, Kind] = {"0": "general", "4": "character", "9": "rating"}
# Faces made of signs keep their underscores, as on Danbooru.
_FACES = frozenset(
    [
        *("0_0", "(o)_(o)", "+_+", "+_-", "._.", "<o>_<o>", "<|>_<|>", "=_=", ">_<", "3_3"),
        *("6_9", ">_o", "@_@", "^_^", "o_o", "u_u", "x_x", "|_|", "||_||"),
    ]
)


@dataclass(frozen=True)
class Tag:
    """A tag, as captions have it, its kind, and how sure the model is of it (0 to 1)."""

    name: str
    kind: Kind
    probability: float


class Tagger:
    """A loaded model. Raises UserError where it is not there or is none."""

    def __init__(self, folder: Path) -> None:
        """Load `model.onnx` and `selected_tags.csv` of a folder."""
        self._session = MODEL.session(folder)
        self.names = _read_names(folder / TAGS_FILE)
        self._input = self._session.get_inputs()[0]
        shape, outputs = self._input.shape, self._session.get_outputs()[0].shape[-1]
        if len(shape) != 4 or shape[3] != 3 or outputs != len(self.names):
            raise MODEL.unusable(folder, f"{outputs} outputs for {len(self.names)} tags")
        self.side = shape[1]

    def tags(self, picture: Image.Image) -> list[Tag]:
        """All tags that the model knows, the surest first."""
        (probabilities,) = self._session.run(None, {self._input.name: self._prepared(picture)})
        found = [
            Tag(name, kind, float(probability))
            for (name, kind), probability in zip(self.names, probabilities[0], strict=True)
        ]
        return sorted(found, key=lambda tag: -tag.probability)

    def caption(
        self,
        picture: Image.Image,
        threshold: float = THRESHOLD,
        character_threshold: float = CHARACTER_THRESHOLD,
    ) -> str:
        """The tags above the thresholds as a caption, the surest first."""
        thresholds = {"general": threshold, "character": character_threshold}
        return join_tags(
            tag.name
            for tag in self.tags(picture)
            if tag.kind in thresholds and tag.probability >= thresholds[tag.kind]
        )

    def _prepared(self, picture: Image.Image) -> np.ndarray[Any, Any]:
        """(1, side, side, 3), BGR from 0 to 255: on white, padded to a square, as in training."""
        picture = picture.convert("RGBA")
        longest = max(picture.size)
        square = Image.new("RGBA", (longest, longest), "white")
        place = ((longest - picture.width) // 2, (longest - picture.height) // 2)
        square.alpha_composite(picture, place)
        small = square.convert("RGB").resize((self.side, self.side), Image.Resampling.BICUBIC)
        return np.asarray(small, np.float32)[None, :, :, ::-1].copy()


def _read_names(file: Path) -> list[tuple[str, Kind]]:
    """(tag as captions have it, kind) in the order of the model's outputs."""
    try:
        with file.open(encoding="utf-8", newline="") as opened:
            rows = list(csv.DictReader(opened))
        return [(_caption_name(row["name"]), _KINDS.get(row["category"], "rating")) for row in rows]
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise MODEL.unusable(file.parent, error) from error


def _caption_name(name: str) -> str:
    return name if name in _FACES else name.replace("_", " ")
