"""Captions: found beside the pictures, varied from step to step as kohya's trainer does."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lib_rimo.errors import UserError

EXTENSIONS = (".txt", ".caption")


def read_caption(picture: Path, extension: str = "") -> str | None:
    """Read the caption beside a picture: the given extension first, then the usual ones.

    Several lines count as one caption. None where there is no caption, or an empty one.
    """
    first = [f".{extension.lstrip('.')}"] if extension else []
    for candidate in dict.fromkeys((*first, *EXTENSIONS)):
        file = picture.with_suffix(candidate)
        if file.is_file():
            try:
                text = file.read_text(encoding="utf-8-sig")
            except UnicodeDecodeError:
                raise UserError(f"{file} is not UTF-8 text; save it as UTF-8.") from None
            lines = (line.strip().strip(",").strip() for line in text.splitlines())
            return ", ".join(line for line in lines if line) or None
    return None


def split_tags(caption: str) -> list[str]:
    """Split at the commas; empty tags vanish."""
    return [tag for part in caption.split(",") if (tag := part.strip())]


def join_tags(tags: Iterable[str]) -> str:
    """Write tags as a caption."""
    return ", ".join(tags)


def has_trigger(caption: str, trigger_word: str) -> bool:
    """Tell whether the trigger word stands in the caption, as a tag or inside a sentence."""
    return re.search(rf"(?<!\w){re.escape(trigger_word)}(?!\w)", caption) is not None


def with_trigger(caption: str, trigger_word: str) -> str:
    """Put the trigger word first where it is a tag of its own or missing.

    Inside a sentence it stays where it is.
    """
    tags = split_tags(caption)
    if not trigger_word or (trigger_word not in tags and has_trigger(caption, trigger_word)):
        return caption
    return join_tags([trigger_word, *(tag for tag in tags if tag != trigger_word)])


@dataclass(frozen=True)
class CaptionVariation:
    """How a caption changes from one time it is seen to the next; the names are kohya's."""

    shuffle_caption: bool = False
    keep_tokens: int = 0
    caption_dropout_rate: float = 0.0
    caption_tag_dropout_rate: float = 0.0
    trigger_word: str = ""

    def apply(self, caption: str, draw: random.Random) -> str:
        """Return the caption as it is seen this time.

        The first `keep_tokens` tags, and every tag that holds the trigger word, neither move nor
        fall away - except when the whole caption does.
        """
        if self.caption_dropout_rate > 0 and draw.random() < self.caption_dropout_rate:
            return ""
        if not self.shuffle_caption and self.caption_tag_dropout_rate <= 0:
            return caption
        tags = split_tags(caption)
        kept: list[str] = []
        loose: list[str] = []
        for position, tag in enumerate(tags):
            fixed = position < self.keep_tokens or (
                self.trigger_word != "" and has_trigger(tag, self.trigger_word)
            )
            (kept if fixed else loose).append(tag)
        if self.shuffle_caption:
            draw.shuffle(loose)
        if self.caption_tag_dropout_rate > 0:
            loose = [tag for tag in loose if draw.random() >= self.caption_tag_dropout_rate]
        return join_tags([*kept, *loose])


def count_tags(captions: Iterable[str]) -> dict[str, int]:
    """Count in how many captions each tag stands, as `ss_tag_frequency` does: in lower case."""
    return dict(Counter(tag.lower() for caption in captions for tag in split_tags(caption)))
