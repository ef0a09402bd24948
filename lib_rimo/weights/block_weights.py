"""`BlockWeights`: how strong a LoRA is in each block, in each of its elements, at each step."""

import hashlib
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from itertools import groupby

from lib_rimo.errors import UserError
from lib_rimo.lora.blocks import BLOCKS, FAMILY_LAYOUTS, LAYOUTS, expand_vector, fitting_layout
from lib_rimo.text import shortened, visible
from lib_rimo.weights.presets import DEFAULT_PRESETS, Presets
from lib_rimo.weights.ramp import SPACES, Ramp, format_number, parse_number, parse_strength

_POSITION = {block: position for position, block in enumerate(BLOCKS)}


@dataclass(frozen=True)
class RandomWeight:
    """A value that is drawn at random, evenly between `low` and `high`, to 3 decimals."""

    letter: str
    low: float
    high: float


RANDOM_WEIGHTS = {"R": RandomWeight("R", 0.0, 1.0), "U": RandomWeight("U", -0.5, 1.5)}

BlockValue = float | RandomWeight | Ramp

# Layouts of the same family that a vector grows into when it gets values for more blocks.
_WIDER = {12: (12, 20), 17: (17, 26), 20: (20,), 26: (26,)}


@dataclass(frozen=True)
class ElementRule:
    """A weight for the layers of some blocks whose name holds one of some words.

    `words` empty means every layer; `excluding` turns the choice of words round.
    """

    blocks: frozenset[str]
    words: tuple[str, ...]
    excluding: bool
    weight: float

    def matches(self, block: str, element: str | None) -> bool:
        """Whether the rule is about this layer; without an element, about the whole block."""
        if block not in self.blocks:
            return False
        if not self.words:
            return True
        return element is not None and self.excluding != any(word in element for word in self.words)

    def __str__(self) -> str:
        """The rule as it can stand after `lbwe=`: `IN05-OUT05/attn ff@0.5`."""
        blocks = "" if len(self.blocks) == len(BLOCKS) else " ".join(block_ranges(self.blocks))
        words = ("NOT " if self.excluding else "") + " ".join(self.words)
        return f"{blocks}/{words}@{format_number(self.weight)}"


@dataclass(frozen=True)
class BlockWeights:
    """A factor for each block, which a LoRA's own strength is multiplied by.

    Two values are equal when they mean the same, however they were written: `layout` (the number
    of values of the vector) and `source` (the text they were parsed from) don't count.
    """

    values: tuple[BlockValue, ...] = (1.0,) * len(BLOCKS)  # in the order of BLOCKS
    rules: tuple[ElementRule, ...] = ()  # the last one that matches wins over the block's value
    start: int = 0  # the LoRA has no effect before that many steps are done
    stop: int | None = None  # nor from the moment that many are
    layout: int | None = field(default=None, compare=False)
    source: str = field(default="", compare=False)
    rules_source: str = field(default="", compare=False)

    def of(self, block: str | None, element: str | None = None) -> float:
        """The factor for a block, or for one layer of it (`lib_rimo.lora.blocks.place_of_key`).

        A layer in no block (None) has the factor 1. Random values have to be fixed first.
        """
        if block is None:
            return 1.0
        value = self.values[_POSITION[block]]
        for rule in self.rules:
            if rule.matches(block, element):
                value = rule.weight
        if isinstance(value, RandomWeight):
            raise ValueError(f"the weight of {block} is random: call fixed(seed) first")
        if isinstance(value, Ramp):
            raise ValueError(f"the weight of {block} depends on the step: call at(step, steps)")
        return value

    def active_at(self, steps_done: int) -> bool:
        """Whether the LoRA acts on the step that comes after `steps_done` finished ones."""
        return self.start <= steps_done and (self.stop is None or steps_done < self.stop)

    @property
    def has_steps(self) -> bool:
        """Whether the LoRA acts differently during the parts of the sampling."""
        return self.start > 0 or self.stop is not None or self.has_ramps

    @property
    def has_ramps(self) -> bool:
        """Whether some values change over the steps."""
        return any(isinstance(value, Ramp) for value in self.values)

    def at(self, steps_done: int, steps: int) -> "BlockWeights":
        """The same weights with the values of one step, of `steps` in all.

        BASE has its first one: the prompt is read before the sampling begins.
        """
        if not self.has_ramps:
            return self
        values = tuple(
            value.at(0 if block == "BASE" else steps_done, steps)
            if isinstance(value, Ramp)
            else value
            for block, value in zip(BLOCKS, self.values, strict=True)
        )
        return replace(self, values=values, source="")

    @property
    def is_random(self) -> bool:
        """Whether some values have to be fixed before the weights can be used."""
        return any(isinstance(value, RandomWeight) for value in self.values)

    def fixed(self, seed: int, name: str = "") -> "BlockWeights":
        """The weights with their random values fixed: the same for the same seed and LoRA name."""
        if not self.is_random:
            return self
        digest = hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogatepass")).digest()
        rng = random.Random(int.from_bytes(digest[:8], "big"))
        values = tuple(
            round(value.low + (value.high - value.low) * rng.random(), 3)
            if isinstance(value, RandomWeight)
            else value
            for value in self.values
        )
        return replace(self, values=values, source="")

    def with_values(self, blocks: Iterable[str], value: float) -> "BlockWeights":
        """The same weights but for some blocks, which get `value`.

        A vector of SDXL stays one: blocks that its UNet does not have are passed over.
        """
        whole = BLOCKS if self.layout is None else LAYOUTS[_WIDER[self.layout][-1]]
        changed = {_POSITION[block] for block in blocks if block in whole}
        values = tuple(
            value if position in changed else old for position, old in enumerate(self.values)
        )
        return replace(self, values=values, source="")

    def with_options_of(self, other: "BlockWeights") -> "BlockWeights":
        """These block values with the element rules and the steps of another value."""
        return replace(
            self,
            rules=other.rules,
            rules_source=other.rules_source,
            start=other.start,
            stop=other.stop,
        )

    def vector(self, layout: int) -> str:
        """The values of a layout's blocks as text: `1,1,0.5,...`."""
        return ",".join(_format_value(self.values[_POSITION[block]]) for block in LAYOUTS[layout])

    @property
    def text(self) -> str:
        """The block values as they were written, or in their layout: what goes into a tag."""
        if self.source:
            return self.source
        if self.layout is None:
            return self._sparse()
        wide_enough = (size for size in _WIDER[self.layout] if self._is_zero_outside(size))
        return self.vector(next(wide_enough, len(BLOCKS)))

    def __str__(self) -> str:
        """The shortest text that means this; the same for all equal values."""
        return ":".join((self._shortest_values(), *self._options(written=False)))

    def _options(self, *, written: bool = True) -> list[str]:
        """`lbwe=` and the steps, as items of a tag."""
        options = []
        if self.rules:
            rules = self.rules_source if written else ""
            options.append("lbwe=" + (rules or ",".join(map(str, self.rules))))
        if self.start and self.stop is not None:
            options.append(f"step={self.start}-{self.stop}")
        elif self.start:
            options.append(f"start={self.start}")
        elif self.stop is not None:
            options.append(f"stop={self.stop}")
        return options

    def items(self) -> list[str]:
        """The items that write these weights into a tag, between its colons."""
        options = self._options()
        if options and not self.source and self.values == _PLAIN.values:
            return options
        return [self.text, *options]

    def _shortest_values(self) -> str:
        texts = [self.vector(layout) for layout in LAYOUTS if self._is_zero_outside(layout)]
        return min([self._sparse(), *texts], key=len)

    def _sparse(self) -> str:
        return self.sparse_text(BLOCKS, 1.0) or "BASE@1"

    def sparse_text(self, blocks: Sequence[str], base: float) -> str:
        """How the values of `blocks` differ from `base`: `IN04-IN08@0.5`; empty if they don't."""
        items = []
        for value, run in groupby(blocks, key=lambda block: self.values[_POSITION[block]]):
            if value != base:
                first, *others = run
                names = f"{first}-{others[-1]}" if others else first
                items.append(f"{names}@{_format_value(value)}")
        return ",".join(items)

    def _is_zero_outside(self, layout: int) -> bool:
        named = set(LAYOUTS[layout])
        return all(
            value == 0
            for block, value in zip(BLOCKS, self.values, strict=True)
            if block not in named
        )

    def problems_on(self, blocks: Iterable[str], family: str, name: str) -> tuple[str, ...]:
        """What a user should know when these weights meet a file, a sentence each.

        `blocks` are those that the file has layers in, `family` is "sd1", "sd2" or "sdxl". A
        vector is applied by the blocks' names whatever the file; blocks that it does not name
        are 0, as sd-webui-lora-block-weight has it; values for blocks that the file has no layers
        in change nothing.
        """
        present = set(blocks)
        if not present:
            return (f"{name}: no layer of the file fits the model, so it changes nothing.",)
        if self.layout is None:
            return self._problems_of_sparse(present, name)
        best = fitting_layout(present, family)
        unnamed = [block for block in BLOCKS if block in present - set(LAYOUTS[self.layout])]
        zeroed = f"{', '.join(unnamed)} got no value and counted as 0"
        advice = f"write {best} values to set every block of this file"
        if self.layout not in FAMILY_LAYOUTS[family]:
            kind = "SDXL" if family == "sdxl" else "SD1/2"
            said = f"{name}: {self.layout} block values are no layout of {kind}"
            applied = f"blocks of the same name took theirs{f', {zeroed}' if unnamed else ''}"
            return (f"{said}; {applied}: {advice}.",)
        if unnamed:
            return (f"{name}: {zeroed} among {self.layout} block values; {advice}.",)
        beyond = {
            self.values[_POSITION[block]]
            for block in LAYOUTS[self.layout]
            if block not in LAYOUTS[best]
        }
        if len(beyond) > 1:
            return (
                f"{name}: the file has layers in the blocks of a plain LoRA only, so the others "
                f"of the {self.layout} block values change nothing; {best} are enough.",
            )
        return ()

    def _problems_of_sparse(self, present: set[str], name: str) -> tuple[str, ...]:
        changed = [block for block, value in zip(BLOCKS, self.values, strict=True) if value != 1]
        if changed and not present & set(changed):
            return (
                f"{name}: the file has no layers in {' '.join(block_ranges(changed))}, so these "
                "block values change nothing.",
            )
        return ()


_PLAIN = BlockWeights()


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
    words = text.split(",")
    if len(words) == 1:
        raise UserError(_unknown_preset(text, presets))
    if re.fullmatch(r"[+-]?\d{1,9},\d{1,9}", text, re.ASCII):
        raise UserError(f'"{text}" is not a number: write {text.replace(",", ".")}.')
    named = expand_vector([_parse_value(word, inherited) for word in words])
    return BlockWeights(tuple(named.get(block, 0.0) for block in BLOCKS), layout=len(words))


def _parse_sparse(text: str, inherited: float | None) -> BlockWeights:
    values: list[BlockValue] = list(_PLAIN.values)
    for item in text.split(","):
        names, at, value = item.partition("@")
        if not at:
            raise UserError(f'"{_said(item)}" has no value: write BLOCK@VALUE, such as IN07@0.8.')
        parsed = _parse_value(value, inherited)
        blocks = parse_block_names(names)
        if not blocks:
            raise UserError(f'"{_said(item)}" names no block: write BLOCK@VALUE, as in IN07@0.8.')
        for block in blocks:
            values[_POSITION[block]] = parsed
    return BlockWeights(tuple(values))


def _said(text: str) -> str:
    return visible(shortened(text.strip(SPACES)))


def _unknown_preset(name: str, presets: Presets) -> str:
    if not name:
        return "The block values are empty: write a vector, a preset or IN07@0.8."
    said = visible(shortened(name))
    if len(name) <= LONGEST_CHOICE and _names_blocks(name):
        return (
            f'"{said}" names blocks without a value: write {said}@0.5 for theirs, or '
            f"{said.removeprefix('NOT ') if said.startswith('NOT ') else f'NOT {said}'}@0 "
            "to use no others."
        )
    similar = next((known for known in presets.blocks if known.lower() == name.lower()), None)
    if similar is not None:
        return f'There is no preset "{said}"; there is one named "{similar}".'
    near = get_close_matches(name[:LONGEST_CHOICE], presets.blocks, n=1)
    meant = f' Did you mean "{near[0]}"?' if near else ""
    return f'There is no preset "{said}"; block values are a vector, a preset or IN07@0.8.{meant}'


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
    words = [word for word in re.split(f"[{SPACES}]+", text) if word]
    negated = bool(words) and words[0].upper() == "NOT"
    chosen: set[str] = set()
    for word in words[negated:]:
        if word.upper() in ("IN", "OUT"):
            chosen.update(block for block in BLOCKS if block.startswith(word.upper()))
            continue
        ends = [_position_of(end) for end in word.split("-")]
        chosen.update(BLOCKS[min(ends) : max(ends) + 1])
    if negated and not chosen:
        raise UserError("NOT has to be followed by blocks, as in NOT OUT03-OUT11.")
    return tuple(block for block in BLOCKS if (block in chosen) != negated)


_BLOCK_NAME = re.compile(r"(IN|OUT)(\d\d?)", re.ASCII)


def _position_of(name: str) -> int:
    name = name.upper()
    if name in ("MID", "M0"):
        name = "M00"
    elif found := _BLOCK_NAME.fullmatch(name):
        name = found[1] + found[2].zfill(2)
    if name not in _POSITION:
        raise UserError(
            f'There is no block "{_said(name)}"; the blocks are BASE, IN00-IN11, M00 and '
            "OUT00-OUT11."
        )
    return _POSITION[name]


def block_ranges(blocks: Iterable[str]) -> list[str]:
    """Blocks as short text, neighbours joined: ["BASE", "IN04-IN08"]."""
    positions = sorted(_POSITION[block] for block in blocks)
    ranges = []
    for _, run in groupby(enumerate(positions), key=lambda pair: pair[1] - pair[0]):
        neighbours = [BLOCKS[position] for _, position in run]
        ranges.append(
            neighbours[0] if len(neighbours) == 1 else f"{neighbours[0]}-{neighbours[-1]}"
        )
    return ranges


def parse_elements(text: str, presets: Presets = DEFAULT_PRESETS) -> tuple[ElementRule, ...]:
    """Read what stands after `lbwe=`: a preset's name, or `IN05-OUT05/attn@0.5,BASE/@0`.

    Raises UserError.
    """
    text = text.strip()
    rules = presets.elements.get(text)
    if rules is None and "@" not in text:
        raise UserError(
            f'There is no element preset "{_said(text)}"; elements can also be written as '
            "BLOCKS/WORDS@VALUE, such as IN05-OUT05/attn@0.5."
        )
    parts = re.split(r"[,\n]", text if rules is None else rules)
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
                f'"{_said(text)}" is not BLOCKS/WORDS@VALUE, such as IN05-OUT05/attn@0.5.'
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


def _format_value(value: BlockValue) -> str:
    if isinstance(value, RandomWeight):
        return value.letter
    return str(value) if isinstance(value, Ramp) else format_number(value)
