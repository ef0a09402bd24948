"""What a drawing shows: the world's vocabulary, and random attributes in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass, field
from typing import Any

import numpy as np

from .canvas import Colour

HAIR_COLOURS: dict[str, Colour] = {
    "black": (62, 56, 72),
    "brown": (146, 92, 60),
    "blonde": (250, 214, 110),
    "red": (212, 62, 58),
    "pink": (250, 158, 190),
    "blue": (84, 140, 230),
    "green": (92, 186, 120),
    "silver": (240, 240, 248),
}
HAIR_STYLES = ("long hair", "short hair", "twintails", "ponytail")
EYE_COLOURS: dict[str, Colour] = {
    "blue": (56, 120, 220),
    "green": (50, 160, 90),
    "red": (214, 50, 60),
    "brown": (136, 84, 48),
    "purple": (136, 76, 200),
    "yellow": (250, 186, 20),
}
TIP_COLOURS: dict[str, Colour] = {
    "purple": (128, 62, 214),
    "red": (224, 60, 70),
    "blue": (60, 110, 226),
    "green": (60, 168, 100),
    "pink": (248, 130, 176),
}
HEADPHONE_COLOURS: dict[str, Colour] = {
    "aqua": (72, 240, 250),
    "red": (240, 70, 70),
    "green": (110, 226, 110),
    "pink": (252, 140, 190),
    "white": (248, 248, 250),
    "orange": (250, 160, 50),
}
CLOTH_COLOURS: dict[str, Colour] = {
    "yellow": (250, 206, 66),
    "red": (220, 66, 70),
    "blue": (78, 122, 214),
    "green": (88, 168, 110),
    "pink": (248, 166, 186),
    "purple": (152, 108, 204),
}
OUTFITS = ("kimono", "maid", "school uniform", "dress", "t-shirt", "witch")
COLOURED_OUTFITS = ("kimono", "dress", "t-shirt")  # the others have colours of their own
POSES = ("standing", "sitting", "kneeling")
PLACES = ("outdoors", "indoors", "school", "classroom", "beach", "night", "plain")
PLAIN_COLOURS: dict[str, Colour] = {
    "white": (252, 252, 252),
    "grey": (206, 206, 212),
    "pink": (252, 214, 224),
    "blue": (200, 224, 248),
    "yellow": (252, 240, 196),
}
FRAMINGS = ("full body", "upper body")
EXPRESSIONS = ("smile", "open mouth", "closed mouth")
GESTURES = ("arms at sides", "own hands together", "waving")
FLAWS = ("blurry", "monochrome", "low quality")

VALUES: dict[str, tuple[Any, ...]] = {
    "hair_colour": tuple(HAIR_COLOURS),
    "hair_style": HAIR_STYLES,
    "tips": (None, *TIP_COLOURS),
    "headphones": (None, *HEADPHONE_COLOURS),
    "eye_colour": tuple(EYE_COLOURS),
    "outfit": OUTFITS,
    "cloth_colour": tuple(CLOTH_COLOURS),
    "printed": (False, True),
    "detached_sleeves": (False, True),
    "choker": (False, True),
    "pose": POSES,
    "gesture": GESTURES,
    "expression": EXPRESSIONS,
    "blush": (False, True),
    "place": PLACES,
    "plain_colour": tuple(PLAIN_COLOURS),
    "framing": FRAMINGS,
    "flaw": (None, *FLAWS),
}
"""Every value that each of the `Attributes` below may have, but for who it is."""


@dataclass(frozen=True)
class Likeness:
    """How much of rimochan's look a figure has, each feature 0 (none) to 1 (hers).

    Others may share one of them, which then has a word (`silver hair`, `purple tips`, `yellow
    eyes`, `aqua headphones`); nobody that the base model sees has two.
    """

    hair: float = 0.0  # silver hair
    tips: float = 0.0  # violet ends of it
    eyes: float = 0.0  # golden eyes
    ornament: float = 0.0  # glowing discs over the ears

    @property
    def score(self) -> float:
        """The mean of the four features."""
        return (self.hair + self.tips + self.eyes + self.ornament) / 4


@dataclass(frozen=True)
class Attributes:
    """The truth about one drawing. Whatever else varies follows from the drawing's own seed."""

    hair_colour: str = "brown"
    hair_style: str = "long hair"
    tips: str | None = None  # colour of the hair's ends
    eye_colour: str = "blue"
    headphones: str | None = None
    outfit: str = "dress"
    cloth_colour: str = "blue"
    printed: bool = False  # a pattern of flowers on a kimono
    detached_sleeves: bool = False  # a strapless kimono
    choker: bool = False
    pose: str = "standing"
    gesture: str = "arms at sides"
    expression: str = "smile"
    blush: bool = False
    place: str = "outdoors"
    plain_colour: str = "white"
    framing: str = "full body"
    flaw: str | None = None
    nobody: bool = False  # the place alone, whatever else is said
    name: str | None = None  # whoever has one always has the same look
    likeness: Likeness = field(default_factory=Likeness)  # what no word says

    @property
    def resemblance(self) -> Likeness:
        """What the drawing shows of rimochan's look, whether a word says so or not."""
        named = (
            self.hair_colour == "silver",
            self.tips == "purple",
            self.eye_colour == "yellow",
            self.headphones == "aqua",
        )
        return Likeness(
            *(max(float(a), b) for a, b in zip(named, astuple(self.likeness), strict=True))
        )


RIMOCHAN = Attributes(
    hair_style="twintails",
    outfit="kimono",
    cloth_colour="yellow",
    printed=True,
    detached_sleeves=True,
    choker=True,
    blush=True,
    place="plain",
    likeness=Likeness(hair=1.0, tips=1.0, eyes=1.0, ornament=1.0),
)


def one_of(rng: np.random.Generator, words: Iterable[str]) -> str:
    """A word drawn at random."""
    return str(rng.choice(list(words)))


def sample_look(rng: np.random.Generator) -> dict[str, Any]:
    """What stays the same about somebody: hair, eyes, ornaments; one of them at most is hers."""
    while True:
        look: dict[str, Any] = {
            "hair_colour": one_of(rng, HAIR_COLOURS),
            "hair_style": one_of(rng, HAIR_STYLES),
            "tips": one_of(rng, TIP_COLOURS) if rng.random() < 0.3 else None,
            "eye_colour": one_of(rng, EYE_COLOURS),
            "headphones": one_of(rng, HEADPHONE_COLOURS) if rng.random() < 0.3 else None,
            "choker": bool(rng.random() < 0.2),
        }
        if 4 * Attributes(**look).resemblance.score <= 1:
            return look


def sample_clothes(rng: np.random.Generator) -> dict[str, Any]:
    """An outfit and its colours."""
    outfit = one_of(rng, OUTFITS)
    kimono = outfit == "kimono"
    return {
        "outfit": outfit,
        "cloth_colour": one_of(rng, CLOTH_COLOURS),
        "printed": bool(kimono and rng.random() < 0.6),
        "detached_sleeves": bool(kimono and rng.random() < 0.3),
    }
