"""Captions on which the model shall go on predicting what it predicts without the LoRA."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from lib_rimo.errors import UserError
from lib_rimo.training.data.captions import has_trigger, join_tags, split_tags

SCENES = "scenes"
"""Instead of prompts: places, some with somebody in them, drawn from tags."""
_LOOKS = (
    ("1girl", "1boy"),
    ("black hair", "brown hair", "blonde hair", "red hair", "blue hair", "green hair", "pink hair"),
    ("short hair", "medium hair", "long hair", "ponytail", "braid", "bob cut"),
    ("t-shirt, shorts", "school uniform", "dress", "hoodie", "coat", "jacket, jeans", "sweater"),
    ("standing", "sitting", "walking", "kneeling", "running"),
)


@dataclass(frozen=True)
class PriorCaptions:
    """Which pictures of a batch teach nothing new, and under which captions.

    What OneTrainer's concepts of the type PRIOR_PREDICTION are for: in their place stand
    `prompts`, else the pictures' own captions without the trigger word.
    """

    rate: float = 0.0
    trigger_word: str = ""
    prompts: tuple[str, ...] = ()

    def draw(self, caption: str, seed: str) -> str | None:
        """The caption of such a picture, by chance from this seed; None for an ordinary one."""
        if not self.rate:
            return None
        rng = random.Random(seed)
        if rng.random() >= self.rate:
            return None
        if self.prompts == (SCENES,):
            return _scene(rng)
        return rng.choice(self.prompts) if self.prompts else self.without_trigger(caption)

    def without_trigger(self, caption: str) -> str:
        """Leave the trigger word out, and tags that are left with nothing else."""
        word = self.trigger_word
        if not word or not has_trigger(caption, word):
            return caption
        tags = (" ".join(tag.replace(word, "").split()) for tag in split_tags(caption))
        return join_tags(tag for tag in tags if tag)


def read_prior_prompts(text: str) -> tuple[str, ...]:
    """What `prior_prediction_prompts` names: SCENES alone, or the lines of a text file.

    Raises UserError for a file that cannot be read or has no prompts.
    """
    text = text.strip()
    if text in ("", SCENES):
        return (text,) if text else ()
    try:
        prompts = _lines(Path(text).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        prompts = ()
    if not prompts:
        raise UserError(
            "{file} holds no prompts: give a text file with one a line, or write scenes.",
            file=text,
            about="prior_prediction_prompts",
        )
    return prompts


def place_prompts() -> tuple[str, ...]:
    """Places in booru's tags, without anybody in them."""
    return _lines(Path(__file__).with_name("scenes.txt").read_text(encoding="utf-8"))


def _scene(rng: random.Random) -> str:
    """A place, empty or with somebody who is nobody in particular."""
    place = rng.choice(place_prompts())
    if rng.random() < 0.5:
        return f"{place}, no humans"
    return join_tags([*(rng.choice(tags) for tags in _LOOKS), "solo", place])


def _lines(text: str) -> tuple[str, ...]:
    lines = (line.strip() for line in text.splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))
