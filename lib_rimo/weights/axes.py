"""X/Y/Z axes over a prompt's LoRA tags, as plain data.

Each axis reads what the user wrote into values; a cell of the plot applies one value of each axis
to the prompt. Values act on the parsed tag, so any axes compose, in any order. An axis begins with
the LoRA's name and a colon (`rimochan: 0.1-1.0 [10]`) when the prompt has more than one.
"""

import csv
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial

from lib_rimo.errors import UserError
from lib_rimo.lora.blocks import BLOCKS, LAYOUTS
from lib_rimo.text import shortened
from lib_rimo.weights.block_weights import BlockWeights
from lib_rimo.weights.grammar import parse_block_names, parse_blocks
from lib_rimo.weights.presets import DEFAULT_PRESETS, Presets
from lib_rimo.weights.ramp import format_number, is_number, parse_number
from lib_rimo.weights.tags import LoraTag, edit_tags, parse_prompt

MOST_VALUES = 1000
NONE = "None"


@dataclass(frozen=True)
class Strength:
    """A LoRA's strength, in text encoder and UNet alike."""

    lora: str | None
    strength: float

    @property
    def label(self) -> str:
        """The number."""
        return format_number(self.strength)


@dataclass(frozen=True)
class Weights:
    """Block weights as a whole: a vector, a preset or the sparse form."""

    lora: str | None
    weights: BlockWeights

    @property
    def label(self) -> str:
        """A preset's name, or the blocks that differ."""
        return weights_label(self.weights)


@dataclass(frozen=True)
class BlockChoice:
    """The blocks that a cell changes, to `weight` or to the value of the Block value axis."""

    lora: str | None
    blocks: tuple[str, ...]
    weight: float | None
    label: str  # as it was written


@dataclass(frozen=True)
class BlockLevel:
    """The value of the blocks that the Block axis chooses; without one, of all blocks."""

    lora: str | None
    weight: float

    @property
    def label(self) -> str:
        """The number."""
        return format_number(self.weight)


@dataclass(frozen=True)
class File:
    """Another file in the LoRA's place, or none at all."""

    lora: str | None
    name: str | None

    @property
    def label(self) -> str:
        """The file's name."""
        return NONE if self.name is None else self.name


# `lora` is the name of the LoRA that a value is about, None for the prompt's only one.
AxisValue = Strength | Weights | BlockChoice | BlockLevel | File


def parse_strengths(text: str, presets: Presets = DEFAULT_PRESETS) -> list[Strength]:
    """`0.5, 1` and the WebUI's ranges: `0-1 (+0.25)`, `0.1-1.0 [10]`."""
    lora, values = _split_lora(text)
    return [Strength(lora, number) for number in parse_numbers(values)]


def parse_levels(text: str, presets: Presets = DEFAULT_PRESETS) -> list[BlockLevel]:
    """Numbers and ranges, as for the strength."""
    lora, values = _split_lora(text)
    return [BlockLevel(lora, number) for number in parse_numbers(values)]


def parse_weights(text: str, presets: Presets = DEFAULT_PRESETS) -> list[Weights]:
    """Block weights with `;` or a new line between them; commas belong to vectors.

    A list without either is one vector or sparse form, a quoted CSV line
    (`"1,1,...", MIDD`), or names of presets with commas between them.
    """
    lora, values = _split_lora(text)
    return [Weights(lora, parse_blocks(item, presets)) for item in _split_weights(values)]


def parse_choices(text: str, presets: Presets = DEFAULT_PRESETS) -> list[BlockChoice]:
    """Blocks, a cell each: `BASE, IN04-IN08, NOT OUT03-OUT11, M00@0.5`.

    A cell without `@` takes its value from the Block value axis, or is 0.
    """
    lora, values = _split_lora(text)
    return [_parse_choice(lora, item) for item in _split_items(values)]


def parse_files(text: str, presets: Presets = DEFAULT_PRESETS) -> list[File]:
    """Names of LoRA files; `None` draws without the LoRA."""
    lora, values = _split_lora(text)
    names = _split_items(values)
    for name in names:
        if re.search("[<>=]", name):
            raise UserError(
                'A tag cannot name the file "{name}": rename it without <, > and =.', name=name
            )
    return [File(lora, None if name.lower() == "none" else name) for name in names]


@dataclass(frozen=True)
class Axis:
    """An axis as a plot offers it: `parse` reads a line of values and raises UserError.

    `cost` ranks what going from one value to the next takes, 0 to 1: a plot goes the cheaper way
    more often.
    """

    name: str
    parse: Callable[[str, Presets], Sequence[AxisValue]] = field(repr=False)
    example: str
    cost: float


AXES = {
    axis.name: axis
    for axis in (
        Axis("LoRA strength", parse_strengths, "0.1-1.0 [10]", 0.4),  # every layer anew
        Axis("Block weights", parse_weights, "ALL; MIDD; IN07@0.8,IN08@0.2", 0.3),
        Axis("Block", parse_choices, "BASE, IN04-IN08, NOT OUT03-OUT11, M00@0.5", 0.2),
        Axis("Block value", parse_levels, "0, 0.5, 1", 0.1),  # the same blocks anew
        Axis("LoRA file", parse_files, "None, rimochan-000500, rimochan", 0.5),
    )
}


def check_values(
    values: Iterable[AxisValue],
    prompt: str,
    presets: Presets = DEFAULT_PRESETS,
    files: Collection[str] | None = None,
) -> None:
    """Refuse values that a prompt has no LoRA for, or files that aren't there: UserError."""
    _, tags, messages = parse_prompt(prompt, presets)
    names = list(dict.fromkeys(tag.name for tag in tags))
    for value in values:
        if not names:
            if messages:
                raise UserError(
                    "The prompt has no LoRA to vary: add <lora:NAME:1>. ({why})", why=messages[0]
                )
            raise UserError("The prompt has no LoRA to vary: add <lora:NAME:1>.")
        if value.lora is None and len(names) > 1:
            raise UserError(
                "The prompt has {n} LoRAs: begin the values with the name of the one you mean, "
                'such as "{name}: ...".',
                n=len(names),
                name=names[0],
            )
        if value.lora is not None and value.lora not in names:
            raise UserError(
                'The prompt has no LoRA "{name}"; it has {names}.', name=value.lora, names=names
            )
        if isinstance(value, File) and files is not None and value.name not in (None, *files):
            raise UserError('There is no LoRA file "{name}".', name=value.name)


def apply_values(
    prompt: str, values: Sequence[AxisValue], presets: Presets = DEFAULT_PRESETS
) -> str:
    """Write a cell's values, one of each axis, into the prompt's tags."""
    return edit_tags(prompt, partial(_edit_tag, values), presets)


def _edit_tag(values: Sequence[AxisValue], tag: LoraTag) -> LoraTag | None:
    meant = [value for value in values if value.lora in (None, tag.name)]
    for value in meant:
        if isinstance(value, Strength):
            tag = replace(tag, te=value.strength, unet=value.strength)
        elif isinstance(value, Weights):
            tag = replace(tag, blocks=value.weights.with_options_of(tag.blocks or BlockWeights()))
    for blocks, weight in _block_changes(meant):
        tag = replace(tag, blocks=(tag.blocks or BlockWeights()).with_values(blocks, weight))
    for value in meant:
        if isinstance(value, File):
            if value.name is None:
                return None
            tag = replace(tag, name=value.name)
    return tag


def _block_changes(values: Sequence[AxisValue]) -> list[tuple[Sequence[str], float]]:
    """(blocks, value) of a cell, the Block and the Block value axis taken together."""
    levels = [value.weight for value in values if isinstance(value, BlockLevel)]
    choices = [value for value in values if isinstance(value, BlockChoice)]
    if not choices:
        return [(BLOCKS, level) for level in levels]
    default = levels[-1] if levels else 0.0
    return [
        (choice.blocks, default if choice.weight is None else choice.weight) for choice in choices
    ]


def weights_label(weights: BlockWeights) -> str:
    """Short text for a plot: a preset's name, or how the values differ from 1, or from 0."""
    source = weights.source
    if source and "," not in source and "@" not in source:
        return source
    if weights.layout is None:
        return weights.text
    named = LAYOUTS[weights.layout]
    ones, zeros = weights.sparse_text(named, 1.0), weights.sparse_text(named, 0.0)
    if not ones or not zeros:
        return "all 0" if not zeros else "all 1"
    return min(ones, f"only {zeros}", weights.text, key=len)


_RANGE = re.compile(
    r"([+-]?\d{1,9}(?:\.\d{0,9})?)\s*-\s*([+-]?\d{1,9}(?:\.\d{0,9})?)"
    r"\s*(?:\(\s*\+?(-?\d{0,9}\.?\d{1,9})\s*\)|\[\s*(\d{1,9})\s*\])?",
    re.ASCII,
)


def parse_numbers(text: str) -> list[float]:
    """Read numbers with commas between them, ranges among them. Raises UserError.

    `0-1 (+0.25)` goes in steps of 0.25 and `0.1-1 [10]` in 10 values; a bare range steps by 1.
    """
    numbers: list[float] = []
    for item in _split_items(text):
        found = _RANGE.fullmatch(item)
        if found is None:
            numbers.append(parse_number(item))
        else:
            numbers += _range(item, *(found[group] for group in range(1, 5)))
        if len(numbers) > MOST_VALUES:
            raise too_many(item)
    return numbers


def too_many(item: str) -> UserError:
    """What is said of an axis that nobody could draw, by the item that is too much."""
    return UserError('"{text}" makes more than {n} values.', text=shortened(item), n=MOST_VALUES)


def _range(item: str, first: str, last: str, step: str | None, count: str | None) -> list[float]:
    start, end = Decimal(first), Decimal(last)
    if count is not None:
        number = int(count)
        if not 0 < number <= MOST_VALUES:
            raise UserError('"{text}" has to make 1 to {n} values.', text=item, n=MOST_VALUES)
        gap = (end - start) / (number - 1) if number > 1 else Decimal(0)
        return [round(float(start + gap * index), 4) + 0.0 for index in range(number)]
    stride = Decimal(step or "1")
    if stride == 0 or (end - start) * stride < 0:
        raise UserError(
            '"{text}" never gets from {first} to {last} in such steps.',
            text=item,
            first=first,
            last=last,
        )
    number = int((end - start) / stride) + 1
    if number > MOST_VALUES:
        raise too_many(item)
    return [float(start + stride * index) + 0.0 for index in range(number)]


def _parse_choice(lora: str | None, item: str) -> BlockChoice:
    names, at, weight = item.partition("@")
    blocks = parse_block_names(names)
    if not blocks:
        raise UserError(
            '"{text}" names no block: write IN07, IN04-IN08 or NOT OUT03-OUT11.', text=item
        )
    return BlockChoice(lora, blocks, parse_number(weight) if at else None, item)


def _split_lora(text: str) -> tuple[str | None, str]:
    """(name of the LoRA, the values after its colon)."""
    name, colon, values = text.partition(":")
    return (name.strip(), values) if colon else (None, text)


def _split_items(text: str) -> list[str]:
    """The items of a CSV line, without the empty ones. Raises UserError when there are none."""
    lines = [" ".join(line.split()) for line in text.splitlines()]
    try:
        items = [item.strip() for row in csv.reader(lines, skipinitialspace=True) for item in row]
    except csv.Error as error:
        raise UserError("The axis values cannot be read: {reason}.", reason=error) from error
    return _not_empty([item for item in items if item])


def _split_weights(text: str) -> list[str]:
    if ";" in text or "\n" in text.strip():
        return _not_empty([item.strip(' "') for item in re.split(r"[;\n]", text) if item.strip()])
    items = _split_items(text)
    is_one = all("@" in item for item in items) or all(_is_value(item) for item in items)
    if is_one and '"' not in text:
        return [text.strip()]
    if '"' not in text and any("@" in item or _is_value(item) for item in items):
        raise UserError("Put ; between block weights, as in MIDD; IN07@0.8,IN08@0.2.")
    return items


def _is_value(item: str) -> bool:
    return is_number(item) or item in ("R", "U", "X")


def _not_empty(items: list[str]) -> list[str]:
    if not items:
        raise UserError("The axis has no values.")
    if len(items) > MOST_VALUES:
        raise too_many(items[MOST_VALUES])
    return items
