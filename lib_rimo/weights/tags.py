"""LoRA tags in a prompt: `<lora:name:te:unet:BLOCKS>`, read and written the same on every host."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from lib_rimo.errors import UserError
from lib_rimo.weights.block_weights import (
    BlockWeights,
    format_number,
    is_number,
    parse_blocks,
    parse_elements,
    parse_number,
)
from lib_rimo.weights.presets import DEFAULT_PRESETS, Presets

KINDS = ("lora", "lyco")
OPTIONS = ("te", "unet", "dyn", "lbw", "lbwe", "x", "start", "stop", "step")

# The WebUI's own pattern of an extra network in a prompt.
_EXTRA_NETWORK = re.compile(r"<(\w+):([^>]+)>")


@dataclass(frozen=True)
class LoraTag:
    """One LoRA of a prompt: `te` and `unet` are its strengths, `blocks` what multiplies them."""

    name: str
    te: float = 1.0
    unet: float = 1.0
    dyn: int | None = None  # how many of the LoRA's ranks are used; None for all
    blocks: BlockWeights | None = None
    inherited: float | None = None  # what X stands for in the block values
    kind: str = "lora"
    other: tuple[str, ...] = ()  # items that other extensions may understand

    def doubts(self) -> tuple[str, ...]:
        """Options that look like a slip of the pen, a sentence each."""
        return tuple(
            f'{self.name}: the option "{item}" was ignored; did you mean "{similar[0]}="?'
            for item in self.other
            if (similar := get_close_matches(item.partition("=")[0].lower(), OPTIONS, cutoff=0.6))
        )


def parse_prompt(
    text: str, presets: Presets = DEFAULT_PRESETS
) -> tuple[str, tuple[LoraTag, ...], tuple[str, ...]]:
    """Take a prompt's LoRA tags out: (text without them, tags, problems).

    A tag that cannot be read is left out, and a problem, one sentence, says so. Never raises.
    """
    tags: list[LoraTag] = []
    problems: list[str] = []

    def take(found: re.Match[str]) -> str:
        if found[1] not in KINDS:
            return found[0]
        try:
            tag = parse_tag(found[1], found[2].split(":"), presets)
        except UserError as error:
            problems.append(f"{found[0]} was left out: {error}")
        else:
            tags.append(tag)
            problems.extend(tag.doubts())
        return ""

    return _EXTRA_NETWORK.sub(take, text), tuple(tags), tuple(problems)


def edit_tags(
    text: str, edit: Callable[[LoraTag], LoraTag | None], presets: Presets = DEFAULT_PRESETS
) -> str:
    """Rewrite a prompt's LoRA tags; `edit` gives the new tag, the same one, or None for no tag.

    Tags that stay equal, or cannot be read, keep their text.
    """

    def rewrite(found: re.Match[str]) -> str:
        if found[1] not in KINDS:
            return found[0]
        try:
            tag = parse_tag(found[1], found[2].split(":"), presets)
        except UserError:
            return found[0]
        edited = edit(tag)
        if edited is None:
            return ""
        return found[0] if edited == tag else format_tag(edited)

    return _EXTRA_NETWORK.sub(rewrite, text)


def parse_tag(kind: str, items: Sequence[str], presets: Presets = DEFAULT_PRESETS) -> LoraTag:
    """Read what stands between a tag's colons, its kind aside. Raises UserError.

    As in the WebUI, an item with one `=` is named and any other positional: name, te, unet, dyn.
    The first positional item after the name that is no number holds the block values; a number
    after it is what an X stands for.
    """
    named, positional = _split_items(items)
    if not positional or not positional[0]:
        raise UserError("it names no file: write <lora:NAME:1>.")
    name, *rest = positional
    place = next((i for i, item in enumerate(rest) if not is_number(item)), len(rest))
    numbers, block_items = rest[:place], rest[place:]
    blocks_text, inherited = _blocks_text(named, block_items)
    te = _strength(named.pop("te", None), numbers[0:1], 1.0)
    unet = _strength(named.pop("unet", None), numbers[1:2], te)
    dyn = _dyn(named.pop("dyn", None), numbers[2:3])
    blocks = _block_weights(blocks_text, inherited, named, presets)
    other = tuple(f"{key}={value}" for key, value in named.items())
    return LoraTag(name, te, unet, dyn, blocks, inherited, kind, other)


_TWICE = 'it has block values twice, "{}" and "{}".'


def _split_items(items: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    named: dict[str, str] = {}
    positional: list[str] = []
    for item in items:
        key, equals, value = item.partition("=")
        if equals and "=" not in value:
            key = "lbw" if key == "w" else key
            if key == "lbw" and key in named:
                raise UserError(_TWICE.format(named[key], value))
            named[key] = value
        else:
            positional.append(item)
    return named, positional


def _blocks_text(named: dict[str, str], positional: list[str]) -> tuple[str | None, float | None]:
    """The block values as written, and what an X stands for in them."""
    text, inherited = named.pop("lbw", None), named.pop("x", None)
    if positional:
        if text is not None:
            raise UserError(_TWICE.format(positional[0], text))
        text, *after = positional
        if len(after) > (inherited is None):
            raise UserError(f'nothing can follow its block values but one number: "{after[-1]}".')
        inherited = after[0] if after else inherited
    return text, None if inherited is None else parse_number(inherited)


def _strength(named: str | None, positional: list[str], default: float) -> float:
    if named is not None:
        return parse_number(named)
    return parse_number(positional[0]) if positional else default


def _dyn(named: str | None, positional: list[str]) -> int | None:
    text = named if named is not None else positional[0] if positional else None
    return None if text is None else _whole_number(text, "dyn")


def _whole_number(text: str, what: str) -> int:
    if re.fullmatch(r"\s*\d{1,9}\s*", text, re.ASCII) is None:
        raise UserError(f'{what} has to be a whole number, not "{text.strip()}".')
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
            raise UserError(f'step has to be a range such as 5-10, not "{step}".')
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
    items = [tag.kind, tag.name, format_number(tag.te)]
    if tag.unet != tag.te:
        items.append(format_number(tag.unet))
    if tag.blocks is not None:
        blocks, *options = tag.blocks.items()
        # A preset may be named like a number, which would be read as a strength.
        items += [f"lbw={blocks}" if is_number(blocks) else blocks, *options]
    if tag.inherited is not None:
        items.append(f"x={format_number(tag.inherited)}")
    if tag.dyn is not None:
        items.append(f"dyn={tag.dyn}")
    return f"<{':'.join((*items, *tag.other))}>"
