"""A procedural illustrator: draws one character per picture from attributes, and captions it.

rng = numpy.random.default_rng(0)
attributes = sample_attributes(rng)
drawing = draw(attributes, (128, 192), rng)     # drawing.image, drawing.detail
text = caption(attributes, rng)                 # "1girl, solo, sitting, blush, outdoors, ..."
"""

from __future__ import annotations

from .attributes import (
    FRAMINGS,
    HEADPHONE_COLOURS,
    OUTFITS,
    PLACES,
    POSES,
    RIMOCHAN,
    VALUES,
    Attributes,
    Likeness,
)
from .captions import caption, complaints, full_caption
from .characters import CHARACTERS, Character, sample_attributes
from .scene import Drawing, draw, draw_mask

__all__ = [
    "CHARACTERS",
    "FRAMINGS",
    "HEADPHONE_COLOURS",
    "OUTFITS",
    "PLACES",
    "POSES",
    "RIMOCHAN",
    "VALUES",
    "Attributes",
    "Character",
    "Drawing",
    "Likeness",
    "caption",
    "complaints",
    "draw",
    "draw_mask",
    "full_caption",
    "sample_attributes",
]
