"""The settings of a picture and their text under it, as AUTOMATIC1111's WebUI writes it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lib_rimo.errors import UserError
from lib_rimo.files import written_beside

NEGATIVE = "Negative prompt:"
AUTOMATIC = "Automatic"  # the sampler's usual schedule
PNG_KEY = "parameters"  # where the WebUI keeps the text in a PNG


@dataclass(frozen=True)
class Settings:
    """What a picture is drawn from, apart from the model; names and defaults are the WebUI's.

    `sampler` and `schedule` are spelt as in the WebUI; "" is the sampler's usual schedule.
    """

    prompt: str = ""
    negative_prompt: str = ""
    steps: int = 20
    sampler: str = "DPM++ 2M"
    schedule: str = ""
    cfg_scale: float = 7.0
    seed: int = 1
    width: int = 512
    height: int = 512
    clip_skip: int = 1


# A value with commas, colons or line breaks in it stands in quotes, written as JSON.
_FIELD = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
_FEWEST_FIELDS = 3


def parse_infotext(text: str, base: Settings | None = None) -> tuple[Settings, dict[str, str]]:
    """Read a prompt, or a whole text from under a picture: (settings, what else is in it).

    What the text does not say is taken from `base`. The rest holds the fields that are no setting,
    such as `Model hash` or `X Values`. Raises UserError for a value that is none.
    """
    base = base or Settings()
    *lines, last = text.strip().split("\n")
    fields = dict(_FIELD.findall(last))
    if len(fields) < _FEWEST_FIELDS:
        lines, fields = [*lines, last], {}
    values = {name: _unquoted(value) for name, value in fields.items()}
    prompts: dict[str, list[str]] = {"prompt": [], "negative_prompt": []}
    where = "prompt"
    for line in lines:
        words = line.strip()
        if words.startswith(NEGATIVE):
            where, words = "negative_prompt", words.removeprefix(NEGATIVE).strip()
        prompts[where].append(words)
    found: dict[str, Any] = {name: "\n".join(words) for name, words in prompts.items() if words}
    found |= _settings_of(values)
    return replace(base, **found), values


def _settings_of(values: dict[str, str]) -> dict[str, Any]:
    """Take the settings out of the fields."""
    kinds = {
        "Steps": ("steps", int),
        "Sampler": ("sampler", str),
        "Schedule type": ("schedule", str),
        "CFG scale": ("cfg_scale", float),
        "Seed": ("seed", int),
        "Clip skip": ("clip_skip", int),
    }
    found: dict[str, Any] = {}
    for field, (name, kind) in kinds.items():
        if field in values:
            text = values.pop(field)
            try:
                found[name] = kind(text)
            except ValueError as error:
                raise UserError(f'{field} has to be a number, not "{text}".') from error
    if found.get("schedule") == AUTOMATIC:
        found["schedule"] = ""
    if "Size" in values:
        found["width"], found["height"] = parse_size(values.pop("Size"))
    return found


def parse_size(text: str) -> tuple[int, int]:
    """Read `448x704`: (width, height). Raises UserError."""
    match = re.fullmatch(r"\s*(\d{1,5})\s*[x×*,]\s*(\d{1,5})\s*", text)
    width, height = (int(match[1]), int(match[2])) if match else (0, 0)
    if min(width, height) < 64 or width % 8 or height % 8:
        raise UserError(
            f'The size "{text}" is not WIDTHxHEIGHT in multiples of 8 from 64 on, as in 448x704.'
        )
    return width, height


def format_infotext(settings: Settings, others: Mapping[str, object] | None = None) -> str:
    """Write the settings, then `others`, as the WebUI does; `parse_infotext` reads it back."""
    fields = {
        "Steps": settings.steps,
        "Sampler": settings.sampler,
        "Schedule type": settings.schedule or AUTOMATIC,
        "CFG scale": f"{settings.cfg_scale:g}",
        "Seed": settings.seed,
        "Size": f"{settings.width}x{settings.height}",
        **({"Clip skip": settings.clip_skip} if settings.clip_skip > 1 else {}),
        **(others or {}),
    }
    negative = f"\n{NEGATIVE} {settings.negative_prompt}" if settings.negative_prompt else ""
    return f"{settings.prompt}{negative}\n{format_fields(fields)}"


def format_fields(fields: Mapping[str, object]) -> str:
    """Write names and values as they stand in the last line under a picture."""
    return ", ".join(f"{name}: {_quoted(str(value))}" for name, value in fields.items())


def _quoted(text: str) -> str:
    if any(character in text for character in ',\n:"'):
        return json.dumps(text, ensure_ascii=False)
    return text


def _unquoted(text: str) -> str:
    if not text.startswith('"'):
        return text.strip()
    try:
        return str(json.loads(text))
    except ValueError:
        return text


def save_png(image: Image.Image, path: Path, infotext: str) -> None:
    """Write a PNG with its settings where the WebUI looks for them, whole or not at all."""
    info = PngInfo()
    info.add_text(PNG_KEY, infotext)
    with written_beside(path) as beside:
        image.save(beside, format="PNG", pnginfo=info)
