"""X/Y/Z plots: what each axis changes, the cells they make, and the labelled picture of all."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from lib_rimo.errors import UserError
from lib_rimo.inference.infotext import Settings
from lib_rimo.inference.sampling import find_sampler
from lib_rimo.weights.axes import (
    AXES,
    MOST_VALUES,
    AxisValue,
    apply_values,
    check_values,
    parse_numbers,
    too_many,
)
from lib_rimo.weights.presets import DEFAULT_PRESETS, Presets

PROMPT_SR = "Prompt S/R"
SCRIPT = "X/Y/Z plot"


@dataclass(frozen=True)
class Replacement:
    """Search and replace in the prompts; all of a cell's replacements are made at once."""

    search: str
    label: str


@dataclass(frozen=True)
class Setting:
    """Another value for one of the picture's settings."""

    name: str
    value: str | int | float

    @property
    def label(self) -> str:
        """The value."""
        return f"{self.value:g}" if isinstance(self.value, float) else str(self.value)


Change = Replacement | Setting | AxisValue


@dataclass(frozen=True)
class GridAxis:
    """An axis of a plot and the changes along it."""

    name: str
    text: str
    changes: tuple[Change, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """What stands beside the cells: the axis is named where the value alone says little."""
        if self.name == PROMPT_SR:
            return tuple(change.label for change in self.changes)
        return tuple(f"{self.name}: {change.label}" for change in self.changes)


def _replacements(text: str) -> list[Change]:
    words = _items(text, keep_empty=True)
    if not words[0]:
        raise UserError(
            "The values of the axis {name} begin with words of the prompt.", name=PROMPT_SR
        )
    return [Replacement(words[0], word) for word in words]


def _settings(name: str, kind: Callable[[float], float]) -> Callable[[str], list[Change]]:
    return lambda text: [Setting(name, kind(number)) for number in parse_numbers(text)]


def _samplers(text: str) -> list[Change]:
    for name in _items(text):
        find_sampler(name)
    return [Setting("sampler", name) for name in _items(text)]


_SETTING_AXES: dict[str, Callable[[str], list[Change]]] = {
    PROMPT_SR: _replacements,
    "Seed": _settings("seed", int),
    "Steps": _settings("steps", int),
    "CFG Scale": _settings("cfg_scale", float),
    "Clip skip": _settings("clip_skip", int),
    "Sampler": _samplers,
}
AXIS_NAMES = (*_SETTING_AXES, *AXES)


def _items(text: str, *, keep_empty: bool = False) -> list[str]:
    """The items of a CSV line. Raises UserError when there are none."""
    items: list[str] = []
    try:
        for row in csv.reader(io.StringIO(text), skipinitialspace=True):
            items += [item.strip() for item in row if keep_empty or item.strip()]
            if len(items) > MOST_VALUES:
                raise too_many(items[MOST_VALUES])
    except csv.Error as error:
        raise UserError("The axis values cannot be read: {reason}.", reason=error) from error
    if not any(items):
        raise UserError("The axis has no values.")
    return items


def parse_axis(name: str, text: str, presets: Presets = DEFAULT_PRESETS) -> GridAxis:
    """Read an axis by its name and its line of values. Raises UserError."""
    known = {axis.lower(): axis for axis in AXIS_NAMES}
    found = known.get(name.strip().lower())
    if found is None:
        raise UserError(
            'There is no axis "{name}"; there is {list}.', name=name.strip(), list=list(AXIS_NAMES)
        )
    if found in AXES:
        changes: Sequence[Change] = AXES[found].parse(text, presets)
    else:
        changes = _SETTING_AXES[found](text)
    return GridAxis(found, text.strip(), tuple(changes))


def axes_of_infotext(
    fields: Mapping[str, str], presets: Presets = DEFAULT_PRESETS
) -> list[GridAxis]:
    """The axes that an infotext's `X Type`, `X Values`, `Y Type`, ... name, up to three."""
    return [
        parse_axis(fields[f"{letter} Type"], fields.get(f"{letter} Values", ""), presets)
        for letter in "XYZ"
        if fields.get(f"{letter} Type", "Nothing") != "Nothing"
    ]


def axes_infotext(axes: Sequence[GridAxis]) -> dict[str, str]:
    """What the WebUI writes under a plot, and `axes_of_infotext` reads."""
    fields = {"Script": SCRIPT}
    for letter, axis in zip("XYZ", axes, strict=False):
        fields |= {f"{letter} Type": axis.name, f"{letter} Values": axis.text}
    return fields


def cells(
    settings: Settings, axes: Sequence[GridAxis], presets: Presets = DEFAULT_PRESETS
) -> Iterator[Settings]:
    """The settings of each cell, X changing fastest, then Y, then Z.

    Raises UserError before the first one where an axis finds nothing to change.
    """
    _check(settings, axes, presets)
    for changes in product(*(axis.changes for axis in reversed(axes))):
        yield _changed(settings, changes[::-1], presets)


def _check(settings: Settings, axes: Sequence[GridAxis], presets: Presets) -> None:
    both = f"{settings.prompt}\n{settings.negative_prompt}"
    for axis in axes:
        for change in axis.changes:
            if isinstance(change, Replacement) and change.search not in both:
                raise UserError(
                    'The axis Prompt S/R looks for "{search}", which the prompt does not have: '
                    "begin its values with words of the prompt.",
                    search=change.search,
                )
    first = _replaced(settings.prompt, [axis.changes[0] for axis in axes])
    values = [change for axis in axes for change in axis.changes if _is_lora_value(change)]
    check_values(values, first, presets)  # type: ignore[arg-type]


def _is_lora_value(change: Change) -> bool:
    return not isinstance(change, (Replacement, Setting))


def _changed(settings: Settings, changes: Sequence[Change], presets: Presets) -> Settings:
    values = [change for change in changes if _is_lora_value(change)]
    prompt = _replaced(settings.prompt, changes)
    if values:
        prompt = apply_values(prompt, values, presets)  # type: ignore[arg-type]
    others = {change.name: change.value for change in changes if isinstance(change, Setting)}
    return replace(
        settings,
        prompt=prompt,
        negative_prompt=_replaced(settings.negative_prompt, changes),
        **others,  # type: ignore[arg-type]
    )


def _replaced(text: str, changes: Sequence[Change]) -> str:
    """Make all replacements in one pass, so that none meets what another one wrote."""
    words = {change.search: change.label for change in changes if isinstance(change, Replacement)}
    if not words:
        return text
    longest_first = sorted(words, key=len, reverse=True)
    pattern = "|".join(re.escape(word) for word in longest_first)
    return re.sub(pattern, lambda match: words[match[0]], text)


# -- the picture --------------------------------------------------------------------------------

_INK, _PAPER = (20, 20, 20), (255, 255, 255)
# For labels that are not Latin; the first that the system has is taken.
_FONTS = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansSC-Regular.otf",
    "msyh.ttc",
    "PingFang.ttc",
    "wqy-microhei.ttc",
    "DejaVuSans.ttf",
)


def draw_grid(
    images: Sequence[Image.Image],
    columns: Sequence[str],
    rows: Sequence[str] = ("",),
    pages: Sequence[str] = ("",),
) -> Image.Image:
    """Lay pictures out in labelled columns and rows; pages of them stand below each other.

    `images` come with the columns changing fastest, then the rows, then the pages.
    """
    per_page = len(columns) * len(rows)
    drawn = [
        _draw_page(images[page * per_page : (page + 1) * per_page], columns, rows, title)
        for page, title in enumerate(pages)
    ]
    whole = Image.new("RGB", (drawn[0].width, sum(page.height for page in drawn)), _PAPER)
    top = 0
    for page in drawn:
        whole.paste(page, (0, top))
        top += page.height
    return whole


def captioned(image: Image.Image, *lines: str) -> Image.Image:
    """A picture with lines of text under it."""
    size = max(11, min(image.size) // 14)
    wrapped = "\n".join(_wrapped(line, image.width, size) for line in lines)
    foot = (wrapped.count("\n") + 1) * size * 5 // 4 + size
    whole = Image.new("RGB", (image.width, image.height + foot), _PAPER)
    whole.paste(image, (0, 0))
    middle = (image.width // 2, image.height + foot // 2)
    _write(ImageDraw.Draw(whole), wrapped, middle, size)
    return whole


def _draw_page(
    images: Sequence[Image.Image], columns: Sequence[str], rows: Sequence[str], title: str
) -> Image.Image:
    width = max(image.width for image in images)
    height = max(image.height for image in images)
    size = max(11, min(width, height) // 14)
    gap = size // 2
    side = min(2 * width, _text_width(rows, size) + 2 * gap) if any(rows) else 0
    headings = [_wrapped(text, width, size) for text in columns]
    head = max(heading.count("\n") + 1 for heading in headings) * size * 5 // 4
    head = head + 2 * gap if any(columns) else 0
    above = size * 5 // 4 + 2 * gap if title else 0
    page = Image.new(
        "RGB",
        (side + len(columns) * (width + gap) - gap, above + head + len(rows) * (height + gap)),
        _PAPER,
    )
    pen = ImageDraw.Draw(page)
    if title:
        _write(pen, title, (page.width // 2, above // 2), size)
    for number, heading in enumerate(headings):
        _write(pen, heading, (side + number * (width + gap) + width // 2, above + head // 2), size)
    for number, label in enumerate(rows):
        middle = above + head + number * (height + gap) + height // 2
        _write(pen, _wrapped(label, side - 2 * gap, size), (side // 2, middle), size)
    for number, image in enumerate(images):
        row, column = divmod(number, len(columns))
        left, top = side + column * (width + gap), above + head + row * (height + gap)
        page.paste(image, (left, top))
    return page


def _write(pen: ImageDraw.ImageDraw, text: str, middle: tuple[int, int], size: int) -> None:
    pen.multiline_text(middle, text, fill=_INK, font=_font(text, size), anchor="mm", align="center")


def _text_width(texts: Sequence[str], size: int) -> int:
    return max(int(_font(text, size).getlength(text)) for text in texts)


def _wrapped(text: str, width: int, size: int) -> str:
    """Break a label between words, or after commas, into lines of at most this width."""
    font = _font(text, size)
    lines = [""]
    for word in re.findall(r"[^\s,]+,?\s*|,\s*|\s+", text):
        longer = lines[-1] + word
        if lines[-1] and font.getlength(longer.rstrip()) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(line.rstrip() for line in lines)


def _font(text: str, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    if not text.isascii():
        for name in _FONTS:
            try:
                return ImageFont.truetype(name, size)
            except OSError:
                continue
    return ImageFont.load_default(size)


def next_number(folder: Path, prefix: str = "") -> int:
    """One more than the highest number that a file or folder named `<prefix>NNNNN...` has."""
    pattern = re.compile(re.escape(prefix) + r"(\d{5})")
    names = (path.name for path in folder.iterdir()) if folder.is_dir() else ()
    return max((int(found[1]) for name in names if (found := pattern.match(name))), default=-1) + 1
