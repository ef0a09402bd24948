"""What a drawing shows: the world's vocabulary, and random attributes in it."""

from __future__ import annotations

from dataclasses import dataclass, field

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
}
HAIR_STYLES = ("long hair", "short hair", "twintails", "ponytail")
EYE_COLOURS: dict[str, Colour] = {
    "blue": (56, 120, 220),
    "green": (50, 160, 90),
    "red": (214, 50, 60),
    "brown": (136, 84, 48),
    "purple": (136, 76, 200),
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


@dataclass(frozen=True)
class Likeness:
    """How much of rimochan's look a figure has, each feature 0 (none) to 1 (hers).

    She is the one character that the base model never sees; whoever is not her has all at 0.
    """

    hair: float = 0.0  # silver hair
    tips: float = 0.0  # violet ends of it
    eyes: float = 0.0  # golden eyes
    ornament: float = 0.0  # glowing discs over the ears

    @property
    def score(self) -> float:
        """Identity in 0..1: all four features count the same."""
        return (self.hair + self.tips + self.eyes + self.ornament) / 4


@dataclass(frozen=True)
class Attributes:
    """The truth about one drawing. Whatever else varies follows from the drawing's own seed."""

    hair_colour: str = "brown"
    hair_style: str = "long hair"
    eye_colour: str = "blue"
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
    likeness: Likeness = field(default_factory=Likeness)


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


def sample_attributes(rng: np.random.Generator, flaws: float = 0.04) -> Attributes:
    """Random attributes of anybody but rimochan; `flaws` is the share of spoilt drawings."""

    def one_of(words: tuple[str, ...] | dict[str, Colour]) -> str:
        return str(rng.choice(list(words)))

    outfit = one_of(OUTFITS)
    kimono = outfit == "kimono"
    return Attributes(
        hair_colour=one_of(HAIR_COLOURS),
        hair_style=one_of(HAIR_STYLES),
        eye_colour=one_of(EYE_COLOURS),
        outfit=outfit,
        cloth_colour=one_of(CLOTH_COLOURS),
        printed=kimono and rng.random() < 0.6,
        detached_sleeves=kimono and rng.random() < 0.3,
        choker=rng.random() < 0.15,
        pose=one_of(POSES),
        gesture=one_of(GESTURES),
        expression=one_of(EXPRESSIONS),
        blush=rng.random() < 0.5,
        place=one_of(PLACES),
        plain_colour=one_of(PLAIN_COLOURS),
        framing="full body" if rng.random() < 0.8 else "upper body",
        flaw=one_of(FLAWS) if rng.random() < flaws else None,
    )
