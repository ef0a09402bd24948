"""The settings of a picture and their text under it, as AUTOMATIC1111's WebUI writes it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lib_rimo.errors import UserError
from lib_rimo.files import written_beside
from lib_rimo.sd.family import TIMESTEPS
from lib_rimo.sd.size import LATENT_PIXELS, Size, read_size, whole_cells

NEGATIVE = "Negative prompt:"
AUTOMATIC = "Automatic"  # the sampler's usual schedule
PNG_KEY = "parameters"  # where the WebUI keeps the text in a PNG
RANDOM_SEED = -1
MOST_CFG_SCALE = 1000
LARGEST_SIDE = 8192
QUANTIZED = "Quantized timesteps"  # Rimo's own field; a WebUI's version tells it there

# f2.0.1v1.10.1-..., f1.0.0v2-v1.10.1RC-... (reForge), f2.ersatz, classic, neo; AUTOMATIC1111's
# begin with v1 or 1.
_FORGE_VERSION = re.compile(r"f\d|classic\b|neo\b", re.IGNORECASE)


@dataclass(frozen=True)
class Settings:
    """What a picture is drawn from, apart from the model; names and defaults are the WebUI's.

    `sampler` and `schedule` are spelt as in the WebUI; "" is the sampler's usual schedule.
    `quantize_timesteps`: the UNet is told the nearest whole timestep of each noise level, as in all
    Forges; AUTOMATIC1111 tells it timesteps between whole ones, unless its option "Enable
    quantization in K samplers" is on. Values of a picture differ by some of 255.
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
    quantize_timesteps: bool = False


def check_settings(settings: Settings) -> None:
    """Refuse settings that no model can draw: UserError."""
    if not 1 <= settings.steps <= TIMESTEPS:
        raise UserError(
            "Steps have to be between 1 and {most}, not {steps}.",
            most=TIMESTEPS,
            steps=settings.steps,
        )
    if not abs(settings.cfg_scale) <= MOST_CFG_SCALE:  # nor NaN
        raise UserError(
            "The CFG scale has to be between 0 and {most}, not {scale}.",
            most=MOST_CFG_SCALE,
            scale=settings.cfg_scale,
        )
    if settings.clip_skip < 1:
        raise UserError("Clip skip begins with 1, not {clip_skip}.", clip_skip=settings.clip_skip)
    if not RANDOM_SEED <= settings.seed < 2**63:
        raise UserError(
            "The seed has to be -1 or a positive whole number, not {seed}.", seed=settings.seed
        )
    sides = settings.width, settings.height
    if not all(LATENT_PIXELS <= side <= LARGEST_SIDE for side in sides):
        raise UserError(
            "The sides have to be between {least} and {most} pixels, not {width} and {height}.",
            least=LATENT_PIXELS,
            most=LARGEST_SIDE,
            width=settings.width,
            height=settings.height,
        )


# The fields that tell a line of settings from a line of a prompt, and what their values look like;
# of all fields only these have values that words of a prompt don't have.
_WHOLE = re.compile(r"-?\d{1,40}", re.ASCII)
_DECIMAL = re.compile(r"-?\d{1,40}(?:\.\d{0,40})?", re.ASCII)
_TELLING = {
    "Steps": _WHOLE,
    "Sampler": re.compile(r"[A-Za-z][\w +\-]{1,40}"),
    "Schedule type": re.compile(r"[A-Za-z][\w ]{1,40}"),
    "CFG scale": _DECIMAL,
    "Seed": _WHOLE,
    "Size": re.compile(r"\d{1,5}x\d{1,5}", re.ASCII),
    "Clip skip": _WHOLE,
    "Model hash": re.compile(r"[0-9a-fA-F]{6,64}"),
    "Denoising strength": _DECIMAL,
}
_FEWEST_FIELDS, _FEWEST_OF_THEIR_KIND = 3, 2

# A value with commas, colons or line breaks in it stands in quotes, written as JSON. Each part of
# the pattern is bounded or ends where the next one begins, so that it reads any text in one go.
_FIELD = re.compile(r'\s*(\w[\w \-/]{1,60}):\s*("(?:\\.|[^\\"])+"(?=,|$)|[^,]*)')


def parse_infotext(
    text: str, base: Settings | None = None, *, typed: bool = False
) -> tuple[Settings, dict[str, str]]:
    """Read a prompt, or a whole text from under a picture: (settings, what else is in it).

    What the text does not say is taken from `base`. The rest holds the fields that are no setting,
    such as `Model hash` or `X Values`. A `typed` text of one line is a prompt whatever it says;
    one from a file or a picture may have settings only. Raises UserError for a value that is none.
    """
    base = base or Settings()
    lines = text.strip().split("\n")
    count = _count_settings_lines(lines[1:] if typed else lines)
    fields = _fields_of(" ".join(lines[len(lines) - count :]))
    prompts: dict[str, list[str]] = {"prompt": [], "negative_prompt": []}
    where = "prompt"
    for line in lines[: len(lines) - count]:
        words = line.strip()
        if words.startswith(NEGATIVE):
            where, words = "negative_prompt", words.removeprefix(NEGATIVE).strip()
        prompts[where].append(words)
    found: dict[str, Any] = {name: "\n".join(words) for name, words in prompts.items() if words}
    found |= _settings_of(fields)
    return replace(base, **found), fields


def _count_settings_lines(lines: Sequence[str]) -> int:
    """How many lines at the end of a text hold settings: mostly 1, none in a bare prompt.

    A prompt may have colons as well: `(kimono:1.2), (obi:1.1), <lora:rimochan:1>`. So a line of
    settings begins with a field that tells it, and some fields in all have values of their kind.
    """
    count = 0
    for line in reversed(lines):
        name, colon, _ = line.partition(":")
        if not colon or name.strip() not in _TELLING:
            break
        count += 1
    fields = _fields_of(" ".join(lines[len(lines) - count :]))
    telling = [name for name in _TELLING if name in fields]
    of_their_kind = [name for name in telling if _TELLING[name].fullmatch(fields[name])]
    is_settings = len(telling) >= _FEWEST_FIELDS and len(of_their_kind) >= _FEWEST_OF_THEIR_KIND
    return count if is_settings else 0


def _fields_of(line: str) -> dict[str, str]:
    """The fields of a line of settings; what stands between commas and is none is passed over."""
    fields: dict[str, str] = {}
    position = 0
    while position < len(line):
        found = _FIELD.match(line, position)
        if found is not None:
            fields[found[1]] = _unquoted(found[2])
        comma = line.find(",", position if found is None else found.end())
        position = len(line) if comma < 0 else comma + 1
    return fields


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
                raise UserError(
                    '{field} has to be a number, not "{text}".', field=field, text=text[:40]
                ) from error
    if values.pop(QUANTIZED, "") == "True" or _FORGE_VERSION.match(values.get("Version", "")):
        found["quantize_timesteps"] = True
    if found.get("schedule") == AUTOMATIC:
        found["schedule"] = ""
    if "Size" in values:
        size = read_size(values["Size"]) or (0, 0)
        # The WebUI takes any size, and draws the whole latents that fit in it.
        drawn = _checked_size(values["Size"], whole_cells(size))
        found["width"], found["height"] = drawn
        if size == drawn:
            del values["Size"]
    return found


# Beginnings of fields that changed a picture elsewhere in ways that nothing here draws.
_LEFT_OUT = (
    *("Hires", "Refiner", "Denoising strength", "Variation seed", "ControlNet", "ADetailer"),
    *("Hypernet", "Mask", "Face restoration", "Tiling", "FreeU", "Dynamic thresholding", "Module"),
    *("Rimo hires weights", "Distilled CFG Scale"),
)


def fields_left_out(fields: Mapping[str, str]) -> list[str]:
    """The fields of a text that say what was done to its picture and cannot be done here."""
    return [name for name in fields if name.startswith(_LEFT_OUT)]


def parse_size(text: str) -> Size:
    """Read `448x704` or, for a square, `512`. Raises UserError."""
    return _checked_size(text, read_size(text) or (0, 0))


def _checked_size(text: str, size: Size) -> Size:
    if min(size) < 64 or max(size) > LARGEST_SIDE or size != whole_cells(size):
        raise UserError(
            'The size "{text}" is not WIDTHxHEIGHT in multiples of {step} from 64 to'
            " {most}, as in 448x704.",
            text=text[:40],
            step=LATENT_PIXELS,
            most=LARGEST_SIDE,
        )
    return size


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
        **({QUANTIZED: True} if settings.quantize_timesteps else {}),
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
