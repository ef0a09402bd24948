"""The named characters of the world: invented names, each with a look and a costume of its own.

They teach the base model what a name is: a word that stands for a look. None of them is rimochan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .attributes import (
    EXPRESSIONS,
    FLAWS,
    GESTURES,
    PLACES,
    PLAIN_COLOURS,
    POSES,
    Attributes,
    one_of,
    sample_clothes,
    sample_look,
)

COUNT = 96
PLAIN_SHARE = 0.25  # of pictures whose background is one flat colour
COSTUME_SHARE = 0.4  # of a named character's pictures in which she wears her own clothes
_SEED = 61
_SYLLABLES = (
    *("ka", "ri", "mo", "yu", "na", "shi", "ro", "ha", "ru", "ko", "mi", "ai", "sa", "to", "ku"),
    *("ne", "lu", "ze", "bo", "ta", "vi", "fu", "den", "ran", "kir", "lo", "pe", "ga", "wo", "xi"),
)
_OWN = "rimo"  # how rimochan's name begins
_ENDINGS = ("chan", "san", "hime", "", "", "")


@dataclass(frozen=True)
class Character:
    """A name with what it stands for: fields of `Attributes`."""

    name: str
    look: Mapping[str, Any]  # hair, eyes, ornaments: always
    costume: Mapping[str, Any]  # what she wears if nothing else is said


def make_name(rng: np.random.Generator) -> str:
    """A made-up name of two or three syllables, never like rimochan's."""
    name = _OWN
    while name.startswith(_OWN):
        syllables = rng.choice(_SYLLABLES, int(rng.integers(2, 4)))
        name = "".join([*syllables, str(rng.choice(_ENDINGS))])
    return name


def _invent(count: int) -> tuple[Character, ...]:
    rng = np.random.default_rng(_SEED)
    found: dict[str, Character] = {}
    while len(found) < count:
        name = make_name(rng)
        found.setdefault(name, Character(name, sample_look(rng), sample_clothes(rng)))
    return tuple(found.values())


CHARACTERS = _invent(COUNT)


def sample_attributes(
    rng: np.random.Generator, flaws: float = 0.04, named: float = 0.5, empty: float = 0.0
) -> Attributes:
    """Random attributes of anybody but rimochan.

    `flaws` is the share of spoilt drawings, `named` that of characters with a name, `empty` that of
    places with nobody in them.
    """
    if empty and rng.random() < empty:
        return Attributes(
            place=one_of(rng, PLACES[:-1]),
            flaw=one_of(rng, FLAWS) if rng.random() < flaws else None,
            nobody=True,
        )
    character = None
    if rng.random() < named:
        character = CHARACTERS[int(rng.integers(len(CHARACTERS)))]
    look = character.look if character else sample_look(rng)
    clothes: Mapping[str, Any] = sample_clothes(rng)
    if character and rng.random() < COSTUME_SHARE:
        clothes = character.costume
    scenery = PLACES[:-1]
    return Attributes(
        **look,
        **clothes,
        pose=one_of(rng, POSES),
        gesture=one_of(rng, GESTURES),
        expression=one_of(rng, EXPRESSIONS),
        blush=rng.random() < 0.5,
        place="plain" if rng.random() < PLAIN_SHARE else one_of(rng, scenery),
        plain_colour=one_of(rng, PLAIN_COLOURS),
        framing="full body" if rng.random() < 0.8 else "upper body",
        flaw=one_of(rng, FLAWS) if rng.random() < flaws else None,
        name=character.name if character else None,
    )
