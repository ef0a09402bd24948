"""LoRA tags in a prompt: `<lora:name:te:unet:BLOCKS>`, read and written the same on every host."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import pairwise
from typing import NamedTuple

from lib_rimo.errors import UserError
from lib_rimo.messages import Message
from lib_rimo.text import printable, visible
from lib_rimo.weights.block_weights import BlockWeights
from lib_rimo.weights.grammar import parse_blocks, parse_elements
from lib_rimo.weights.presets import DEFAULT_PRESETS, Presets
from lib_rimo.weights.ramp import (
    SPACES,
    Number,
    Ramp,
    as_written,
    format_number,
    format_strength,
    is_number,
    is_strength,
    parse_number,
    parse_strength,
    value_at,
)

KINDS = ("lora", "lyco")
OPTIONS = ("te", "unet", "dyn", "lbw", "lbwe", "x", "start", "stop", "step")
# Options of others' tags, and whose they are.
OTHERS_OPTIONS = {
    **dict.fromkeys(("hr", "hrte", "hrunet"), "sd-webui-loractl"),
    **dict.fromkeys(("in", "mid", "out"), "SD.Next"),
}
MOST_ITEMS = 100
# Of a prompt are read; reading a tag takes as long as hundreds of letters.
MOST_TAGS = 1000
MOST_UNKNOWN_OPTIONS = 100

_KIND = re.compile(r"<(\w+):")


class ExtraNetwork(NamedTuple):
    """`<kind:body>` in a prompt, and where it stands."""

    kind: str
    body: str
    start: int
    end: int

    @property
    def text(self) -> str:
        """The whole tag."""
        return f"<{self.kind}:{self.body}>"


def find_extra_networks(text: str) -> Iterator[ExtraNetwork]:
    """What the WebUI's pattern `<(\\w+):([^>]+)>` finds, in one go however often a `<` is open."""
    position = 0
    while found := _KIND.search(text, position):
        end = text.find(">", found.end())
        if end < 0:
            return
        if end == found.end():
            position = end
            continue
        yield ExtraNetwork(found[1], text[found.end() : end], found.start(), end + 1)
        position = end + 1


def replace_extra_networks(text: str, replacement: Callable[[ExtraNetwork], str]) -> str:
    """The text with each extra network replaced."""
    parts, position = [], 0
    for network in find_extra_networks(text):
        parts += [text[position : network.start], replacement(network)]
        position = network.end
    return "".join([*parts, text[position:]])


@dataclass(frozen=True)
class LoraTag:
    """One LoRA of a prompt: `te` and `unet` are its strengths, `blocks` what multiplies them."""

    name: str
    te: Number = 1.0
    unet: Number = 1.0
    dyn: int | None = None  # how many of the LoRA's ranks are used; None for all
    blocks: BlockWeights | None = None
    inherited: float | None = None  # what X stands for in the block values
    kind: str = "lora"
    other: tuple[str, ...] = ()  # items that other extensions may understand

    def misspelt_options(self) -> tuple[Message, ...]:
        """Options that look like a slip of the pen, a message each."""
        return tuple(
            Message(
                '{name}: the option "{option}" was ignored; did you mean "{meant}="?',
                name=visible(self.name),
                option=visible(item),
                meant=similar[0],
                level="warning",
            )
            for item in self.other
            if (key := item.partition("=")[0].lower()) not in OTHERS_OPTIONS
            if (similar := get_close_matches(key[:20], OPTIONS, cutoff=0.6))
        )

    def foreign_options(self) -> tuple[Message, ...]:
        """Options that another program or extension reads, a message each."""
        return tuple(
            Message(
                '{name}: the option "{option}" is for {owner}, and was ignored.',
                name=visible(self.name),
                option=visible(item),
                owner=owner,
                level="warning",
            )
            for item in self.other
            if (owner := OTHERS_OPTIONS.get(item.partition("=")[0].lower()))
        )

    @property
    def has_steps(self) -> bool:
        """Whether the LoRA acts differently during the parts of the sampling."""
        has_ramp = isinstance(self.te, Ramp) or isinstance(self.unet, Ramp)
        return has_ramp or (self.blocks is not None and self.blocks.has_steps)

    def at(self, steps_done: int, steps: int) -> "LoraTag":
        """The tag with the strengths of the step after `steps_done` finished ones, of `steps`.

        The text encoder has its first one: the prompt is read before the sampling begins. Whether
        the LoRA acts at all on that step is `blocks.active_at`'s to tell.
        """
        blocks = None if self.blocks is None else self.blocks.at(steps_done, steps)
        te, unet = value_at(self.te, 0, steps), value_at(self.unet, steps_done, steps)
        return replace(self, te=te, unet=unet, blocks=blocks)


def parse_prompt(
    text: str, presets: Presets = DEFAULT_PRESETS
) -> tuple[str, tuple[LoraTag, ...], tuple[Message, ...]]:
    """Take a prompt's extra networks out: (text without them, LoRA tags, messages).

    A tag that cannot be read is left out, and so are those beyond MOST_TAGS; a message says so.
    Never raises. All networks are taken out, as the WebUI does; those of other kinds are another's
    (`other_kinds`).
    """
    tags: list[LoraTag] = []
    messages: list[Message] = []
    found = unknown = 0

    def take(network: ExtraNetwork) -> str:
        nonlocal found, unknown
        found += network.kind.lower() in KINDS
        if found > MOST_TAGS:
            return ""
        shown = printable(network.text, 200)
        if network.kind not in KINDS:
            if network.kind.lower() in KINDS:
                messages.append(
                    Message(
                        "{tag} was left out: write {meant} in small letters.",
                        tag=shown,
                        meant=f"<{network.kind.lower()}:",
                    )
                )
            return ""
        try:
            tag = parse_tag(network.kind, network.body.split(":"), presets)
        except UserError as error:
            messages.append(Message("{tag} was left out: {why}", tag=shown, why=error))
        else:
            tags.append(tag)
            unknown += len(tag.other)
            if unknown <= MOST_UNKNOWN_OPTIONS:
                messages.extend(tag.misspelt_options())
        return ""

    rest = replace_extra_networks(text, take)
    if found > MOST_TAGS:
        many = "The prompt has {n} LoRA tags; those after the first {most} were left out."
        messages.append(Message(many, n=found, most=MOST_TAGS))
    return rest, tuple(tags), tuple(messages)


def other_kinds(text: str) -> tuple[str, ...]:
    """A prompt's extra networks that are no LoRAs, such as `<hypernet:foo:1>`."""
    return tuple(
        network.text for network in find_extra_networks(text) if network.kind.lower() not in KINDS
    )


def edit_tags(
    text: str, edit: Callable[[LoraTag], LoraTag | None], presets: Presets = DEFAULT_PRESETS
) -> str:
    """Rewrite a prompt's LoRA tags; `edit` gives the new tag, the same one, or None for no tag.

    Tags that stay equal, cannot be read, or come after MOST_TAGS, keep their text.
    """
    found = 0

    def rewrite(network: ExtraNetwork) -> str:
        nonlocal found
        found += network.kind.lower() in KINDS
        if network.kind not in KINDS or found > MOST_TAGS:
            return network.text
        try:
            tag = parse_tag(network.kind, network.body.split(":"), presets)
        except UserError:
            return network.text
        edited = edit(tag)
        if edited is None:
            return ""
        return network.text if edited == tag else format_tag(edited)

    return replace_extra_networks(text, rewrite)


def parse_tag(kind: str, items: Sequence[str], presets: Presets = DEFAULT_PRESETS) -> LoraTag:
    """Read what stands between a tag's colons, its kind aside. Raises UserError.

    As in the WebUI, an item with one `=` is named and any other positional: name, te, unet, dyn.
    The first positional item after the name that is no strength holds the block values; a number
    after it is what an X stands for.
    """
    if len(items) > MOST_ITEMS:
        raise UserError("it has {n} parts, more than {most}.", n=len(items), most=MOST_ITEMS)
    named, positional = _split_items(items)
    if not positional or not positional[0]:
        raise UserError("it names no file: write <lora:NAME:1>.")
    name, *rest = positional
    place = next((i for i, item in enumerate(rest) if not is_strength(item)), len(rest))
    numbers, block_items = rest[:place], rest[place:]
    blocks_text, inherited = _blocks_text(named, block_items)
    te = _strength(named.pop("te", None), numbers[0:1], 1.0)
    unet = _strength(named.pop("unet", None), numbers[1:2], te)
    dyn = _dyn(named.pop("dyn", None), numbers[2:3])
    blocks = _block_weights(blocks_text, inherited, named, presets)
    other = tuple(f"{key}={value}" for key, value in named.items())
    return LoraTag(name, te, unet, dyn, blocks, inherited, kind, other)


_TWICE = 'it has block values twice, "{first}" and "{second}".'


def _split_items(items: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    named: dict[str, str] = {}
    positional: list[str] = []
    for item in items:
        key, equals, value = item.partition("=")
        if equals and "=" not in value:
            key = "lbw" if key == "w" else key
            if key == "lbw" and key in named:
                raise UserError(_TWICE, first=as_written(named[key]), second=as_written(value))
            named[key] = value
        else:
            positional.append(item)
    return named, positional


def _blocks_text(named: dict[str, str], positional: list[str]) -> tuple[str | None, float | None]:
    """The block values as written, and what an X stands for in them."""
    text, inherited = named.pop("lbw", None), named.pop("x", None)
    for item, following in pairwise([*positional, "..."]):
        if item.strip(SPACES).lower() in OPTIONS:
            raise UserError(
                "write {option}={value}, with = for the colon.",
                option=as_written(item),
                value=as_written(following),
            )
    if positional:
        if text is not None:
            raise UserError(_TWICE, first=as_written(positional[0]), second=as_written(text))
        text, *after = positional
        if len(after) > (inherited is None) or (after and not is_number(after[0])):
            raise UserError(
                'nothing can follow its block values "{values}" but one number, and "{text}" is '
                "none: write all block values as one part, with commas between, and elements as "
                "lbwe=NAME.",
                values=as_written(text),
                text=as_written(after[-1]),
            )
        inherited = after[0] if after else inherited
    return text, None if inherited is None else parse_number(inherited)


def _strength(named: str | None, positional: list[str], default: Number) -> Number:
    if named is not None:
        return parse_strength(named)
    return parse_strength(positional[0]) if positional else default


def _dyn(named: str | None, positional: list[str]) -> int | None:
    text = named if named is not None else positional[0] if positional else None
    return None if text is None else _whole_number(text, "dyn")


def _whole_number(text: str, what: str) -> int:
    if re.fullmatch(r"\d{1,9}", text.strip(SPACES), re.ASCII) is None:
        raise UserError(
            '{option} has to be a whole number, not "{text}".', option=what, text=as_written(text)
        )
    return int(text)


def _block_weights(
    text: str | None, inherited: float | None, named: dict[str, str], presets: Presets
) -> BlockWeights | None:
    """The block weights of a tag; takes what it reads out of `named`."""
    elements, step = named.pop("lbwe", None), named.pop("step", None)
    start, stop = named.pop("start", None), named.pop("stop", None)
    if step is not None:
        start, dash, stop = step.partition("-")
        if not dash:
            raise UserError(
                'step has to be a range such as 5-10, not "{text}".', text=as_written(step)
            )
    if text is None and elements is None and start is None and stop is None:
        return None
    weights = BlockWeights() if text is None else parse_blocks(text, presets, inherited)
    if elements is not None:
        rules = parse_elements(elements, presets)
        weights = replace(weights, rules=rules, rules_source=elements.strip())
    return replace(
        weights,
        start=0 if start is None else _whole_number(start, "start"),
        stop=None if stop is None else _whole_number(stop, "stop"),
    )


def format_tag(tag: LoraTag) -> str:
    """Write a tag; parsing the text gives an equal one."""
    items = [tag.kind, tag.name, format_strength(tag.te)]
    if tag.unet != tag.te:
        items.append(format_strength(tag.unet))
    if tag.blocks is not None:
        blocks, *options = tag.blocks.items()
        # A preset may be named like a number, which would be read as a strength.
        items += [f"lbw={blocks}" if is_strength(blocks) else blocks, *options]
    if tag.inherited is not None:
        items.append(f"x={format_number(tag.inherited)}")
    if tag.dyn is not None:
        items.append(f"dyn={tag.dyn}")
    return f"<{':'.join((*items, *tag.other))}>"
