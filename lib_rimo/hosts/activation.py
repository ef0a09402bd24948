"""What a picture's LoRA tags ask for, read once for every host.

A host's adapter hands over the tags as the host split them, applies what comes back, and shows the
messages. Nothing here imports a host.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from lib_rimo.errors import UserError
from lib_rimo.hosts.multiplier import digest
from lib_rimo.messages import Message
from lib_rimo.weights.block_weights import BlockWeights
from lib_rimo.weights.presets import DEFAULT_PRESETS, Presets
from lib_rimo.weights.record import HIRES_WEIGHTS_KEY, WEIGHTS_KEY, restore, write_record
from lib_rimo.weights.tags import LoraTag, parse_tag

NOTES_KEY = "Rimo notes"


@dataclass(frozen=True)
class ReadTag:
    """A tag as the prompt has it, and what it means with its random values fixed."""

    items: tuple[str, ...]
    tag: LoraTag  # with the strengths of the first step
    hidden: bool = False  # whether the prompt alone does not show the values
    ramped: LoraTag | None = None  # as written, where strengths change over the steps

    @property
    def has_steps(self) -> bool:
        """Whether the LoRA acts differently during the parts of the sampling."""
        return (self.ramped or self.tag).has_steps

    def at(self, steps_done: int, steps: int) -> LoraTag:
        """The tag on the step after `steps_done` finished ones, of `steps` in all."""
        return self.tag if self.ramped is None else self.ramped.at(steps_done, steps)

    @property
    def text(self) -> str:
        """The tag as the prompt has it."""
        return f"<lora:{':'.join(self.items)}>"

    def host_items(self, kept: "ReadTag | None" = None) -> list[str]:
        """The tag without block weights, as any host and extension reads it.

        The host keeps the prompt's encodings as long as the tags stay equal, so of the blocks it
        gets a name for what the text encoder sees of them; and another extension must not apply
        the blocks once more. That name carries the tag itself, or `kept`.
        """
        tag = self.tag
        items = [tag.name, f"te={tag.te!r}", f"unet={tag.unet!r}", *tag.other]
        if tag.dyn is not None:
            items.append(f"dyn={tag.dyn}")
        if tag.blocks is not None:
            items.append(Carrier(f"rimo={digest(text_encoder_part(tag.blocks))}", kept or self))
        return items


class Carrier(str):
    """An item of a tag which the host hands on as it is, even where it makes the tag anew.

    Forge Neo does so when a refiner takes over, and may put another LoRA's name into it.
    """

    __slots__ = ("read",)
    read: ReadTag

    def __new__(cls, text: str, read: ReadTag) -> "Carrier":
        """`read` is the tag that `text` stands in."""
        carrier = super().__new__(cls, text)
        carrier.read = read
        return carrier

    def __reduce__(self) -> tuple[Any, ...]:
        return Carrier, (str(self), self.read)


def carried(items: Sequence[str]) -> ReadTag | None:
    """The tag that a host's items were made from, under the name that they have now."""
    read = next((item.read for item in items if isinstance(item, Carrier)), None)
    if read is None or read.tag.name == items[0]:
        return read
    ramped = read.ramped and replace(read.ramped, name=items[0])
    return replace(read, tag=replace(read.tag, name=items[0]), ramped=ramped)


def text_encoder_part(blocks: BlockWeights) -> BlockWeights:
    """What of block weights the text encoder sees: equal for those that differ elsewhere only."""
    rules = tuple(rule for rule in blocks.rules if "BASE" in rule.blocks)
    return BlockWeights((blocks.values[0], *BlockWeights().values[1:]), rules)


def read_tag(items: Sequence[str], presets: Presets, seed: int) -> ReadTag:
    """Read what stands between a tag's colons. Raises UserError."""
    tag = parse_tag("lora", items, presets)
    if tag.blocks is None and not tag.has_steps:
        return ReadTag(tuple(items), tag)
    blocks = tag.blocks or BlockWeights()
    hidden = blocks.is_random or _names_preset(blocks, presets)
    fixed = replace(tag, blocks=blocks.fixed(seed, tag.name))
    first = fixed.at(0, 1)
    return ReadTag(tuple(items), first, hidden, None if first == fixed else fixed)


def is_plain(tags: Iterable[Sequence[str]]) -> bool:
    """Whether the host's own grammar covers all the tags."""
    try:
        read = [parse_tag("lora", items, DEFAULT_PRESETS) for items in tags]
        return all(tag.blocks is None and not tag.has_steps for tag in read)
    except UserError:
        return False


def left_out(items: Sequence[str], error: UserError) -> Message:
    """What to tell of a tag that cannot be read."""
    return Message("{tag} was left out: {why}", tag=f"<lora:{':'.join(items)}>", why=error)


_LONGEST_NAME = 300  # characters of a name that near ones are looked for


def not_found(read: ReadTag, names: Iterable[str]) -> Message:
    """What to tell of a tag whose file the host has not loaded, and which of `names` is near."""
    near = get_close_matches(read.tag.name[:_LONGEST_NAME], list(names), n=1)
    if near and near[0] != read.tag.name:
        return Message(
            "{tag} was left out: no such file was found; did you mean {name}?",
            tag=read.text,
            name=near[0],
        )
    return Message(
        "{tag} was left out: no such file was found, or it cannot be read.", tag=read.text
    )


def _names_preset(blocks: BlockWeights, presets: Presets) -> bool:
    return blocks.source in presets.blocks or blocks.rules_source in presets.elements


def record(tags: Sequence[ReadTag]) -> str:
    """The tags whose values the prompt does not show, with the numbers: for the infotext."""
    hidden = {read.tag.name for read in tags if read.hidden}
    shown = [read.ramped or read.tag for read in tags]
    return write_record([tag for tag in shown if tag.name in hidden])


def write_infotext(
    p: Any, tags: Sequence[ReadTag], messages: Sequence[Message], hires: bool
) -> None:
    """Show messages under the picture, and put them and the hidden numbers into its infotext.

    Comments reach the page only; what is in `extra_generation_params` reaches an API client too.
    """
    parameters = p.extra_generation_params
    if not hires:
        for key in (WEIGHTS_KEY, HIRES_WEIGHTS_KEY, NOTES_KEY):
            parameters.pop(key, None)  # of an earlier batch, or of another cell of a plot
    for message in messages:
        tell(p, message)
    numbers = record(tags)
    if numbers and numbers != parameters.get(WEIGHTS_KEY):
        parameters[HIRES_WEIGHTS_KEY if hires else WEIGHTS_KEY] = numbers


def tell(p: Any, message: Message) -> None:
    """Show a message under the picture that is drawn, and in its infotext once."""
    if hasattr(p, "comment"):
        p.comment(message.text())
    before = p.extra_generation_params.get(NOTES_KEY, "")
    if message.text() not in before:
        p.extra_generation_params[NOTES_KEY] = f"{before} {message}".strip()


def paste_infotext(_infotext: str, parameters: dict[str, Any]) -> None:
    """Write an infotext's recorded numbers into the prompts that are about to be pasted."""
    numbers = parameters.get(WEIGHTS_KEY)
    hires_numbers = parameters.get(HIRES_WEIGHTS_KEY) or numbers
    for key, recorded in (("Prompt", numbers), ("Hires prompt", hires_numbers)):
        if recorded and parameters.get(key):
            parameters[key] = restore(parameters[key], str(recorded))
