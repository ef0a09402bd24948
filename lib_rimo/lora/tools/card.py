"""What a WebUI's card shows of a LoRA: title, trigger word, description and picture.

The file itself carries them, in the words of Stability's ModelSpec and of the metadata editors
(`ssmd_*`); WebUIs take the picture from there, the trigger word and the description from a `.json`
of the same name beside the file.
"""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from lib_rimo.errors import UserError
from lib_rimo.files import written_beside
from lib_rimo.lora.files import LoraFile, read_lora, write_lora
from lib_rimo.text import parse_json

COVER_SIDE = 512
"""The longest side of the picture, in pixels: cards are no larger."""
_NOT_IN_TITLES = "<>:"


@dataclass(frozen=True)
class Card:
    """What to write; None leaves what is there, an empty text takes it away."""

    title: str | None = None
    trigger: str | None = None
    description: str | None = None
    cover: Image.Image | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        texts = (self.title, self.trigger, self.description)
        return self.cover is None and all(text is None for text in texts)


def write_card(source: Path, card: Card, destination: Path | None = None) -> Path:
    """Write a card's words into a LoRA file (or a copy of it) and into the `.json` beside it.

    The weights, and so the hash that WebUIs know the LoRA by, stay. Other fields of the `.json`
    stay too. Returns the written file. Raises UserError for what cannot be read or written, and
    for a title that no tag can name.
    """
    if card.title is not None and any(sign in card.title for sign in _NOT_IN_TITLES):
        raise UserError(
            "A title becomes the LoRA's name in prompts, <lora:TITLE:1>: it cannot hold {signs}.",
            signs=list(_NOT_IN_TITLES),
        )
    destination = destination or source
    beside = destination.with_suffix(".json")
    fields = _fields_beside(beside) | _json_fields(card)
    file = read_lora(source)
    write_lora(destination, file.tensors, _with_card(file, card))
    if fields:
        with written_beside(beside) as part:
            part.write_text(json.dumps(fields, ensure_ascii=False, indent=4), "utf-8")
    return destination


def _with_card(file: LoraFile, card: Card) -> dict[str, str]:
    metadata = dict(file.metadata)
    words: dict[str, str | None] = {
        "ss_output_name": card.title or None,  # WebUIs' second name of a LoRA
        "modelspec.title": card.title,
        "ssmd_display_name": card.title,
        "modelspec.trigger_phrase": card.trigger,
        "ssmd_keywords": card.trigger,
        "modelspec.description": card.description,
        "ssmd_description": card.description,
    }
    for name, text in words.items():
        if text:
            metadata[name] = text
        elif text is not None:
            metadata.pop(name, None)
    if card.cover is not None:
        picture = _small_jpeg(card.cover)
        metadata["ssmd_cover_images"] = json.dumps([picture])
        metadata["modelspec.thumbnail"] = f"data:image/jpeg;base64,{picture}"
    return metadata


def _small_jpeg(picture: Image.Image) -> str:
    """A picture in JPEG's format and base64's letters, not larger than a card."""
    small = picture.convert("RGB")
    small.thumbnail((COVER_SIDE, COVER_SIDE))
    content = io.BytesIO()
    small.save(content, "JPEG", quality=90)
    return base64.b64encode(content.getvalue()).decode("ascii")


def _json_fields(card: Card) -> dict[str, str]:
    fields = {"activation text": card.trigger, "description": card.description}
    return {name: text for name, text in fields.items() if text is not None}


def _fields_beside(path: Path) -> dict[str, Any]:
    """What a `.json` beside a LoRA says already; nothing where there is none."""
    try:
        fields = parse_json(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(
            "{file} cannot be read ({error}): mend it or move it away, so that nothing in it is "
            "lost.",
            file=path,
            error=error,
        ) from error
    if not isinstance(fields, dict):
        raise UserError(
            "{file} is no card of a WebUI: mend it or move it away, so that nothing in it is lost.",
            file=path,
        )
    return fields
