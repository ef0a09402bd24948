"""How block weights are written: vectors, presets, blocks that differ, elements."""

import re
from dataclasses import replace
from difflib import get_close_matches

from lib_rimo.errors import UserError
from lib_rimo.lora.blocks import ALL_BLOCKS, BLOCKS, expand_vector
from lib_rimo.text import printable
from lib_rimo.weights.block_weights import (
    POSITIONS,
    RANDOM_WEIGHTS,
    BlockValue,
    BlockWeights,
    ElementRule,
    in_order,
    own_blocks,
)
from lib_rimo.weights.presets import DEFAULT_PRESETS, Presets
from lib_rimo.weights.ramp import SPACES, as_written, parse_number, parse_strength

MOST_VALUES = 1000  # of the sparse form and of element rules, where several may name one block


def parse_blocks(
    text: str, presets: Presets = DEFAULT_PRESETS, inherited: float | None = None
) -> BlockWeights:
    """Read block values: a vector, a preset's name or the sparse form (`IN04-IN08@0.5`).

    `inherited` is what an `X` stands for (1 when the tag gives no number). Raises UserError.
    """
    text = text.strip(SPACES)
    values = presets.blocks.get(text)
    weights = _parse_values(text if values is None else values, presets, inherited)
    return replace(weights, source=text)


def _parse_values(text: str, presets: Presets, inherited: float | None) -> BlockWeights:
    if "@" in text:
        return _parse_sparse(text, inherited)
    words = _at_most(text.split(","))
    if len(words) == 1:
        raise _unknown_preset(text, presets)
    if re.fullmatch(r"[+-]?\d{1,9},\d{1,9}", text, re.ASCII):
        number = text.replace(",", ".")
        raise UserError('"{text}" is not a number: write {number}.', text=text, number=number)
    named = expand_vector([_parse_value(word, inherited) for word in words])
    unnamed = dict.fromkeys(own_blocks(len(words)), 0.0)
    return BlockWeights(in_order({**unnamed, **named}), layout=len(words))


def _parse_sparse(text: str, inherited: float | None) -> BlockWeights:
    named: dict[str, BlockValue] = {}
    for item in _at_most(text.split(",")):
        names, at, value = item.partition("@")
        if not at:
            raise UserError(
                '"{text}" has no value: write BLOCK@VALUE, such as IN07@0.8.', text=as_written(item)
            )
        parsed = _parse_value(value, inherited)
        blocks = parse_block_names(names)
        if not blocks:
            raise UserError(
                '"{text}" names no block: write BLOCK@VALUE, such as IN07@0.8.',
                text=as_written(item),
            )
        named |= dict.fromkeys(blocks, parsed)
    return BlockWeights(in_order(named))


def _at_most(items: list[str]) -> list[str]:
    """The items of a list that somebody may have written; UserError for one of more."""
    if len(items) > MOST_VALUES:
        raise UserError(
            "there are {n} values with commas between, more than {most}.",
            n=len(items),
            most=MOST_VALUES,
        )
    return items


def _unknown_preset(name: str, presets: Presets) -> UserError:
    if not name:
        return UserError("The block values are empty: write a vector, a preset or IN07@0.8.")
    shown = printable(name)
    if len(name) <= LONGEST_CHOICE and _names_blocks(name):
        return UserError(
            '"{blocks}" names blocks without a value: write {blocks}@0.5 for theirs, or '
            "{others}@0 to use no others.",
            blocks=shown,
            others=shown.removeprefix("NOT ") if shown.startswith("NOT ") else f"NOT {shown}",
        )
    similar = next((known for known in presets.blocks if known.lower() == name.lower()), None)
    if similar is not None:
        return UserError(
            'There is no preset "{name}"; there is one named "{other}".', name=shown, other=similar
        )
    near = get_close_matches(name[:LONGEST_CHOICE], presets.blocks, n=1)
    if near:
        return UserError(
            'There is no preset "{name}"; block values are a vector, a preset or IN07@0.8. '
            'Did you mean "{other}"?',
            name=shown,
            other=near[0],
        )
    return UserError(
        'There is no preset "{name}"; block values are a vector, a preset or IN07@0.8.', name=shown
    )


LONGEST_CHOICE = 200  # characters of a choice of blocks that is looked into for a better message


def _names_blocks(text: str) -> bool:
    try:
        return bool(parse_block_names(text))
    except UserError:
        return False


def parse_block_names(text: str) -> tuple[str, ...]:
    """Read a choice of blocks: `IN07`, `IN04-IN08`, `IN01 M00`, `OUT`, `NOT OUT03-OUT11`.

    Gives them in the order of BLOCKS. Raises UserError.
    """
    if text in POSITIONS:  # as nearly always
        return (text,)
    words = [word for word in re.split(f"[{SPACES}]+", text) if word]
    negated = bool(words) and words[0].upper() == "NOT"
    chosen: set[str] = set()
    for word in dict.fromkeys(words[negated:]):
        if word.upper() in ("IN", "OUT", "D", "S"):
            chosen.update(block for block in ALL_BLOCKS if block.startswith(word.upper()))
            continue
        ends = [_position_of(end) for end in word.split("-")]
        chosen.update(ALL_BLOCKS[min(ends) : max(ends) + 1])
    if negated and not chosen:
        raise UserError("NOT has to be followed by blocks, as in NOT OUT03-OUT11.")
    of = BLOCKS if chosen <= set(BLOCKS) else ALL_BLOCKS
    return tuple(block for block in of if (block in chosen) != negated)


_BLOCK_NAME = re.compile(r"(IN|OUT|D|S)(\d\d?)", re.ASCII)


def _position_of(name: str) -> int:
    name = name.upper()
    if name in ("MID", "M0"):
        name = "M00"
    elif found := _BLOCK_NAME.fullmatch(name):
        name = found[1] + found[2].zfill(2)
    if name not in POSITIONS:
        raise UserError(
            'There is no block "{name}"; the blocks are BASE, IN00-IN11, M00 and OUT00-OUT11.',
            name=as_written(name),
        )
    return POSITIONS[name]


def parse_elements(text: str, presets: Presets = DEFAULT_PRESETS) -> tuple[ElementRule, ...]:
    """Read what stands after `lbwe=`: a preset's name, or `IN05-OUT05/attn@0.5,BASE/@0`.

    Raises UserError.
    """
    text = text.strip()
    rules = presets.elements.get(text)
    if rules is None and "@" not in text:
        raise UserError(
            'There is no element preset "{name}"; elements can also be written as '
            "BLOCKS/WORDS@VALUE, such as IN05-OUT05/attn@0.5.",
            name=as_written(text),
        )
    parts = _at_most(re.split(r"[,\n]", text if rules is None else rules))
    return tuple(_parse_rule(part) for part in parts if part.strip())


def _parse_rule(text: str) -> ElementRule:
    # Preset files write BLOCKS:WORDS:VALUE, which cannot stand in a tag.
    if text.count(":") == 2:
        names, words, value = text.split(":")
    else:
        selection, _, value = text.rpartition("@")
        names, slash, words = selection.partition("/")
        if not slash:
            raise UserError(
                '"{text}" is not BLOCKS/WORDS@VALUE, such as IN05-OUT05/attn@0.5.',
                text=as_written(text),
            )
    blocks = parse_block_names(names) if names.strip() else BLOCKS
    listed = words.split()
    excluding = bool(listed) and listed[0] == "NOT"
    return ElementRule(
        frozenset(blocks), tuple(listed[excluding:]), excluding, parse_number(value.strip())
    )


_INHERITED = re.compile(r"X(?:([+-])(.+))?")


def _parse_value(text: str, inherited: float | None) -> BlockValue:
    text = text.strip(SPACES)
    if text in RANDOM_WEIGHTS:
        return RANDOM_WEIGHTS[text]
    if found := _INHERITED.fullmatch(text):
        base = 1.0 if inherited is None else inherited
        offset = parse_number(found[2]) if found[1] else 0.0
        return round(base - offset if found[1] == "-" else base + offset, 6)
    return parse_strength(text)
