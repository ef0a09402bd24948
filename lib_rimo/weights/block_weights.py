"""`BlockWeights`: how strong a LoRA is in each block, in each of its elements, at each step."""

import hashlib
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

from lib_rimo.lora.blocks import (
    ALL_BLOCKS,
    BLOCKS,
    FAMILIES,
    FAMILY_LAYOUTS,
    LAYOUTS,
    UNET_LAYOUTS,
    WHOLE_LAYOUTS,
    fitting_layout,
)
from lib_rimo.messages import Message
from lib_rimo.weights.ramp import Ramp, format_number

POSITIONS = {block: position for position, block in enumerate(ALL_BLOCKS)}


@dataclass(frozen=True)
class RandomWeight:
    """A value that is drawn at random, evenly between `low` and `high`, to 3 decimals."""

    letter: str
    low: float
    high: float


RANDOM_WEIGHTS = {"R": RandomWeight("R", 0.0, 1.0), "U": RandomWeight("U", -0.5, 1.5)}

BlockValue = float | RandomWeight | Ramp

# Layouts of the same family that a vector grows into when it gets values for more blocks.
_WIDER = {size: (size, whole)[size == whole :] for size, whole in WHOLE_LAYOUTS.items()}


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

    # in the order of ALL_BLOCKS: the UNet's 26, or all where another family's are set
    values: tuple[BlockValue, ...] = (1.0,) * len(BLOCKS)
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
        value = self._value(block)
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
            for block, value in zip(self.blocks, self.values, strict=True)
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
        whole = ALL_BLOCKS if self.layout is None else LAYOUTS[_WIDER[self.layout][-1]]
        changed = {block: value for block in blocks if block in whole}
        named = dict(zip(self.blocks, self.values, strict=True)) | changed
        return replace(self, values=in_order(named), source="")

    @property
    def blocks(self) -> tuple[str, ...]:
        """The blocks that `values` are for."""
        return ALL_BLOCKS[: len(self.values)]

    def _value(self, block: str) -> BlockValue:
        position = POSITIONS[block]
        return self.values[position] if position < len(self.values) else 1.0

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
        return ",".join(_format_value(self._value(block)) for block in LAYOUTS[layout])

    @property
    def text(self) -> str:
        """The block values as they were written, or in their layout: what goes into a tag."""
        if self.source:
            return self.source
        if self.layout is None:
            return self._sparse()
        wide_enough = (size for size in _WIDER[self.layout] if self._is_zero_outside(size))
        return self.vector(next(wide_enough, max(len(BLOCKS), _WIDER[self.layout][-1])))

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
        return self.sparse_text(self.blocks, 1.0) or "BASE@1"

    def sparse_text(self, blocks: Sequence[str], base: float) -> str:
        """How the values of `blocks` differ from `base`: `IN04-IN08@0.5`; empty if they don't."""
        items = []
        for value, run in groupby(blocks, key=self._value):
            if value != base:
                first, *others = run
                names = f"{first}-{others[-1]}" if others else first
                items.append(f"{names}@{_format_value(value)}")
        return ",".join(items)

    def _is_zero_outside(self, layout: int) -> bool:
        named, own = set(LAYOUTS[layout]), own_blocks(layout)
        return all(
            value == (0 if block in own else 1)
            for block, value in zip(self.blocks, self.values, strict=True)
            if block not in named
        )

    def messages_on(self, blocks: Iterable[str], family: str, name: str) -> tuple[Message, ...]:
        """What a user should know when these weights meet a file, a message each.

        `blocks` are those that the file has layers in, `family` is "sd1", "sd2" or "sdxl". A
        vector is applied by the blocks' names whatever the file; blocks that it does not name
        are 0, as sd-webui-lora-block-weight has it; values for blocks that the file has no layers
        in change nothing.
        """
        present = set(blocks)
        if not present:
            return (
                _warning(
                    "{name}: no layer of the file fits the model, so it changes nothing.", name=name
                ),
            )
        if self.layout is None:
            return self._messages_of_sparse(present, name)
        best = fitting_layout(present, family)
        unnamed = [block for block in ALL_BLOCKS if block in present - set(LAYOUTS[self.layout])]
        values = {"name": name, "n": self.layout, "enough": best, "unnamed": unnamed}
        if self.layout not in FAMILY_LAYOUTS[family]:
            sentence = (
                "{name}: {n} block values are no layout of {family}; blocks of the same name took "
                "theirs, {unnamed} got no value and counted as 0: write {enough} values to set "
                "every block of this file."
                if unnamed
                else "{name}: {n} block values are no layout of {family}; blocks of the same name "
                "took theirs: write {enough} values to set every block of this file."
            )
            return (_warning(sentence, **values, family=FAMILIES[family].title),)
        if unnamed:
            return (
                _warning(
                    "{name}: {unnamed} got no value and counted as 0 among {n} block values; "
                    "write {enough} values to set every block of this file.",
                    **values,
                ),
            )
        beyond = {
            self._value(block) for block in LAYOUTS[self.layout] if block not in LAYOUTS[best]
        }
        if len(beyond) > 1:
            return (
                _warning(
                    "{name}: the file has layers in the blocks of a plain LoRA only, so the others "
                    "of the {n} block values change nothing; {enough} are enough.",
                    **values,
                ),
            )
        return ()

    def _messages_of_sparse(self, present: set[str], name: str) -> tuple[Message, ...]:
        changed = [
            block for block, value in zip(self.blocks, self.values, strict=True) if value != 1
        ]
        if changed and not present & set(changed):
            return (
                _warning(
                    "{name}: the file has no layers in {blocks}, so these block values change "
                    "nothing.",
                    name=name,
                    blocks=" ".join(block_ranges(changed)),
                ),
            )
        return ()


_PLAIN = BlockWeights()


def _warning(sentence: str, **values: Any) -> Message:
    return Message(sentence, level="warning", **values)


def own_blocks(layout: int) -> tuple[str, ...]:
    """The blocks that a vector speaks of: those that it doesn't name are 0, others' stay 1."""
    return BLOCKS if layout in UNET_LAYOUTS else LAYOUTS[_WIDER[layout][-1]]


def in_order(named: Mapping[str, BlockValue]) -> tuple[BlockValue, ...]:
    """Values by blocks as BlockWeights has them; 1 where there is none."""
    blocks = BLOCKS if named.keys() <= set(BLOCKS) else ALL_BLOCKS
    values = tuple(named.get(block, 1.0) for block in blocks)
    return values if any(value != 1 for value in values[len(BLOCKS) :]) else values[: len(BLOCKS)]


def block_ranges(blocks: Iterable[str]) -> list[str]:
    """Blocks as short text, neighbours joined: ["BASE", "IN04-IN08"]."""
    positions = sorted(POSITIONS[block] for block in blocks)
    ranges = []
    for _, run in groupby(enumerate(positions), key=lambda pair: pair[1] - pair[0]):
        neighbours = [ALL_BLOCKS[position] for _, position in run]
        ranges.append(
            neighbours[0] if len(neighbours) == 1 else f"{neighbours[0]}-{neighbours[-1]}"
        )
    return ranges


def _format_value(value: BlockValue) -> str:
    if isinstance(value, RandomWeight):
        return value.letter
    return str(value) if isinstance(value, Ramp) else format_number(value)
