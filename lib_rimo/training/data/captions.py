"""Captions: found beside the pictures, varied from step to step as kohya's trainer does."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lib_rimo.training.data.caption_files import read_text

EXTENSIONS = (".txt", ".caption")


def read_caption(picture: Path, extension: str = "", *, alternatives: bool = False) -> str | None:
    """Read the caption beside a picture: the given extension first, then the usual ones.

    An extension that is none of these stands alone, as in kohya's trainer: so `.none` makes the
    folder's name the caption.

    Several lines count as one caption, or as many `alternatives`, a line each. None where there is
    no caption, or an empty one; UserError where it cannot be read.
    """
    asked = f".{extension.lstrip('.')}" if extension else EXTENSIONS[0]
    others = EXTENSIONS if asked in EXTENSIONS else ()
    for candidate in dict.fromkeys((asked, *others)):
        file = picture.with_suffix(candidate)
        if file.is_file():
            lines = (line.strip().strip(",").strip() for line in read_text(file).splitlines())
            return ("\n" if alternatives else ", ").join(line for line in lines if line) or None
    return None


def split_tags(caption: str, separator: str = ",") -> list[str]:
    """Split at the commas; empty tags vanish."""
    return [tag for part in caption.split(separator) if (tag := part.strip())]


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
    caption_dropout_every_n_epochs: int = 0
    keep_tokens_separator: str = ""
    secondary_separator: str = ""
    caption_separator: str = ","
    enable_wildcard: bool = False

    def apply(self, caption: str, rng: random.Random, epoch: int = 0) -> str:
        """Return the caption as it is seen this time, in an epoch counted from 0.

        The first `keep_tokens` tags, and every tag that holds the trigger word, neither move nor
        fall away - except when the whole caption does. What stands before `keep_tokens_separator`,
        and behind a second one, stays in the same way.
        """
        if self.caption_dropout_rate > 0 and rng.random() < self.caption_dropout_rate:
            return ""
        every = self.caption_dropout_every_n_epochs
        if every > 0 and epoch % every == 0:
            return ""
        if self.enable_wildcard:
            caption = fill_wildcards(caption, rng)
        caption = self._vary(caption, rng)
        if self.secondary_separator:
            caption = caption.replace(self.secondary_separator, self.caption_separator)
        return caption

    def _vary(self, caption: str, rng: random.Random) -> str:
        separator = self.keep_tokens_separator
        is_marked = bool(separator) and separator in caption
        is_varied = self.shuffle_caption or self.caption_tag_dropout_rate > 0
        if not is_varied and not is_marked:
            return caption
        front, middle, back = "", caption, ""
        if is_marked:
            front, _, rest = caption.partition(separator)
            middle, _, back = rest.partition(separator)
        first, last = (split_tags(part, self.caption_separator) for part in (front, back))
        keep_tokens = 0 if is_marked else self.keep_tokens
        kept: list[str] = []
        loose: list[str] = []
        for position, tag in enumerate(split_tags(middle, self.caption_separator)):
            fixed = is_varied and (
                position < keep_tokens
                or (self.trigger_word != "" and has_trigger(tag, self.trigger_word))
            )
            (kept if fixed else loose).append(tag)
        if self.shuffle_caption:
            rng.shuffle(loose)
        if self.caption_tag_dropout_rate > 0:
            loose = [tag for tag in loose if rng.random() >= self.caption_tag_dropout_rate]
        return join_tags([*first, *kept, *loose, *last])


def with_affixes(caption: str, prefix: str, suffix: str) -> str:
    """Put the words of caption_prefix and caption_suffix around, around each line."""
    lines = caption.split("\n")
    return "\n".join(" ".join(filter(None, (prefix, line, suffix))) for line in lines)


_WILDCARD = re.compile(r"\{([^{}]+)\}")
_DOUBLED = {"{{": "\ue000", "}}": "\ue001"}  # by characters that no caption has


def fill_wildcards(caption: str, rng: random.Random) -> str:
    """Take one of the lines, and in it one word of each `{red|blue}`; `{{` and `}}` are braces."""
    if "\n" in caption:
        caption = rng.choice(caption.split("\n"))
    for doubled, stand_in in _DOUBLED.items():
        caption = caption.replace(doubled, stand_in)
    caption = _WILDCARD.sub(lambda found: rng.choice(found[1].split("|")), caption)
    for doubled, stand_in in _DOUBLED.items():
        caption = caption.replace(stand_in, doubled[0])
    return caption


def count_tags(captions: Iterable[str]) -> dict[str, int]:
    """Count in how many captions each tag stands, as `ss_tag_frequency` does: in lower case."""
    return dict(Counter(tag.lower() for caption in captions for tag in split_tags(caption)))
