"""Block values that a prompt does not show, kept as numbers in the text under a picture.

Presets may change or be missing where the text is read, and random values are drawn; so the
infotext says which numbers a picture was drawn with, and reading it puts them into the tags.
"""

from collections.abc import Sequence
from dataclasses import replace

from lib_rimo.weights.tags import (
    KINDS,
    ExtraNetwork,
    LoraTag,
    format_tag,
    replace_extra_networks,
)

WEIGHTS_KEY = "Rimo weights"
HIRES_WEIGHTS_KEY = "Rimo hires weights"


def write_record(tags: Sequence[LoraTag]) -> str:
    """Tags with numbers in place of presets, as one field of an infotext."""
    return " | ".join(format_tag(_with_numbers(tag))[1:-1] for tag in tags)


def _with_numbers(tag: LoraTag) -> LoraTag:
    if tag.blocks is None:
        return tag
    return replace(tag, blocks=replace(tag.blocks, source="", rules_source=""))


def restore(prompt: str, recorded: str) -> str:
    """Put recorded numbers back into a prompt's tags, LoRA by LoRA and in their order."""
    waiting: dict[str, list[str]] = {}
    for text in recorded.split(" | "):
        waiting.setdefault(text.split(":")[1] if ":" in text else "", []).append(f"<{text}>")

    def numbers_of(network: ExtraNetwork) -> str:
        texts = waiting.get(network.body.partition(":")[0])
        return texts.pop(0) if texts and network.kind in KINDS else network.text

    return replace_extra_networks(prompt, numbers_of)
