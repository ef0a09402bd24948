"""A procedural illustrator: draws one character per picture from attributes, and captions it.

rng = numpy.random.default_rng(0)
attributes = sample_attributes(rng)
drawing = draw(attributes, (128, 192), rng)     # drawing.image, drawing.detail
text = caption(attributes, rng)                 # "1girl, solo, sitting, blush, outdoors, ..."
"""

from __future__ import annotations

from .attributes import (
    EYE_COLOURS,
    FRAMINGS,
    HAIR_COLOURS,
    HAIR_STYLES,
    OUTFITS,
    PLACES,
    POSES,
    RIMOCHAN,
    Attributes,
    Likeness,
    sample_attributes,
)
from .captions import caption, full_caption
from .scene import Drawing, draw

__all__ = [
    "EYE_COLOURS",
    "FRAMINGS",
    "HAIR_COLOURS",
    "HAIR_STYLES",
    "OUTFITS",
    "PLACES",
    "POSES",
    "RIMOCHAN",
    "Attributes",
    "Drawing",
    "Likeness",
    "caption",
    "draw",
    "full_caption",
    "sample_attributes",
]
