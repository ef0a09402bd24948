"""Booru-style captions: tags that say what a drawing shows, some left out, roughly in order."""

from __future__ import annotations

import numpy as np

from .attributes import Attributes
from .characters import make_name

PLACE_TAGS: dict[str, tuple[str, ...]] = {
    "outdoors": ("outdoors", "tree", "grass", "sky", "cloud", "flower"),
    "indoors": ("indoors", "window", "bookshelf", "wooden floor", "curtains"),
    "school": ("outdoors", "school", "building", "sky"),
    "classroom": ("indoors", "classroom", "chalkboard", "desk"),
    "beach": ("outdoors", "beach", "ocean", "sand", "sky"),
    "night": ("outdoors", "night", "night sky", "star (sky)", "full moon", "city lights"),
    "plain": ("simple background",),
}
NEEDED_PLACE_TAGS: dict[str, tuple[str, ...]] = {
    "outdoors": ("outdoors",),
    "indoors": ("indoors",),
    "school": ("school",),
    "classroom": ("classroom",),
    "beach": ("beach",),
    "night": ("night",),
    "plain": ("simple background",),
}
OUTFIT_TAGS: dict[str, tuple[str, ...]] = {
    "kimono": ("japanese clothes", "kimono", "obi", "sash"),
    "maid": ("maid", "maid headdress", "apron", "frills"),
    "school uniform": ("school uniform", "serafuku", "pleated skirt", "sailor collar"),
    "dress": ("dress", "long dress", "sleeveless"),
    "t-shirt": ("t-shirt", "shorts", "short sleeves"),
    "witch": ("witch", "witch hat", "robe", "wide sleeves"),
}
# How often captions keep silent about something as a whole.
NAMELESS = 0.1  # the name of whoever has one
LOOK_UNSAID = 0.15  # the look of somebody without a name
LOOK_UNSAID_BY_NAME = 0.7  # the look, where the name says it
PLACE_UNSAID = 0.15  # the place: as likely for a plain background as for any other
QUALITY_TAGS = ("masterpiece", "best quality", "looking at viewer", "chibi", "highres")
NOBODY_TAGS = ("no humans", "scenery")
FLAW_TAGS = {
    "blurry": ("blurry",),
    "monochrome": ("monochrome", "greyscale"),
    "low quality": ("worst quality", "low quality"),
}

# What people write into negative prompts beside the flaws.
_DISLIKED = (
    *("realistic", "lip", "nose", "tooth", "rouge", "lipstick", "eyeshadow", "abs", "muscular"),
    *("rib", "text", "title", "logo", "signature", "watermark", "bad anatomy", "extra digits"),
)


def complaints(rng: np.random.Generator) -> str:
    """A list such as a negative prompt is: many flaws at once, which no one picture has.

    It is said of any picture, as a negative prompt is met by a model. Known from pictures that have
    one flaw alone, the list would stand for colours and outlines that are no picture's, and with
    it guidance would burn them.
    """
    flaws = [tag for tags in FLAW_TAGS.values() for tag in tags]
    chosen = [str(word) for word in rng.permutation([*flaws, *_DISLIKED])]
    return ", ".join(chosen[: int(rng.integers(5, len(chosen) + 1))])


def clothes_tags(attributes: Attributes) -> list[str]:
    """All tags of the outfit, the most telling ones first."""
    outfit, colour = attributes.outfit, attributes.cloth_colour
    tags = list(OUTFIT_TAGS[outfit])
    if outfit == "kimono":
        tags += [f"{colour} kimono", *(["print kimono"] if attributes.printed else [])]
        if attributes.detached_sleeves:
            tags += ["detached sleeves", "strapless dress", f"{colour} sleeves"]
    elif outfit == "dress":
        tags.append(f"{colour} dress")
    elif outfit == "t-shirt":
        tags.append(f"{colour} shirt")
    return tags


def full_caption(attributes: Attributes) -> str:
    """Every tag of the drawing, in the order of the seed's prompts."""
    return ", ".join(tag for group in _groups(attributes).values() for tag in group)


def look_tags(attributes: Attributes) -> list[str]:
    """Hair, eyes and ornaments. No word says what is rimochan's alone, so that a LoRA has to."""
    likeness = attributes.likeness
    tags = []
    if likeness.hair == 0:
        tags += [f"{attributes.hair_colour} hair", attributes.hair_style]
    if attributes.tips:
        tags += ["colored tips", f"{attributes.tips} tips"]
    if likeness.eyes == 0:
        tags.append(f"{attributes.eye_colour} eyes")
    if attributes.headphones:
        tags += ["headphones", f"{attributes.headphones} headphones"]
    return tags


def _groups(attributes: Attributes) -> dict[str, list[str]]:
    """Tags in groups, in the usual order."""
    place = list(PLACE_TAGS[attributes.place])
    if attributes.place == "plain":
        place.append(f"{attributes.plain_colour} background")
    pose = [attributes.pose] if attributes.framing == "full body" else []
    if attributes.nobody:
        flaws = list(FLAW_TAGS[attributes.flaw]) if attributes.flaw else []
        return {"subject": list(NOBODY_TAGS), "place": place, "flaws": flaws}
    return {
        "name": [attributes.name] if attributes.name else [],
        "subject": ["1girl", "solo"],
        "pose": pose + (["blush"] if attributes.blush else []),
        "place": place,
        "look": look_tags(attributes),
        "face": [attributes.expression, attributes.gesture],
        "clothes": clothes_tags(attributes) + (["choker"] if attributes.choker else []),
        "framing": [attributes.framing],
        "flaws": list(FLAW_TAGS[attributes.flaw]) if attributes.flaw else [],
    }


def caption(attributes: Attributes, rng: np.random.Generator) -> str:
    """A caption as people write them: the telling tags nearly always, the others now and then."""
    keep = 1.0 if rng.random() < 0.15 else float(rng.uniform(0.2, 0.7))
    groups = _groups(attributes)
    if attributes.nobody:
        return _without_anybody(groups, keep, rng)
    if attributes.name and rng.random() < NAMELESS:
        groups["name"] = []
    if rng.random() < (LOOK_UNSAID_BY_NAME if groups["name"] else LOOK_UNSAID):
        groups["look"] = []
    if rng.random() < PLACE_UNSAID:
        groups["place"] = []
    if not attributes.name and rng.random() < 0.05:
        groups["name"] = [make_name(rng)]  # a name that nobody knows says nothing
    chances = {
        "1girl": 0.95,
        attributes.pose: 0.95,
        f"{attributes.hair_colour} hair": 0.95,
        attributes.hair_style: 0.95,
        f"{attributes.tips} tips": 0.9,
        f"{attributes.headphones} headphones": 0.9,
        f"{attributes.eye_colour} eyes": 0.6,
        attributes.framing: 0.9 if attributes.framing == "upper body" else 0.4,
        str(rng.choice(sorted(OUTFIT_TAGS[attributes.outfit][:2]))): 0.95,
        **dict.fromkeys(groups["name"], 1.0),
        **dict.fromkeys(groups["flaws"], 0.95),
    }
    if "outdoors" in groups["place"]:
        chances["outdoors"] = 0.7
    chances |= dict.fromkeys(NEEDED_PLACE_TAGS[attributes.place], 0.95)
    kept = [
        [tag for tag in group if rng.random() < max(keep, chances.get(tag, 0.0))]
        for group in groups.values()
    ]
    if rng.random() < 0.3:
        kept.insert(0, [str(rng.choice(QUALITY_TAGS))])
    if rng.random() < 0.4:
        kept = [kept[i] for i in rng.permutation(len(kept))]
    return ", ".join(tag for group in kept for tag in group)


def _without_anybody(groups: dict[str, list[str]], keep: float, rng: np.random.Generator) -> str:
    """The caption of a place: always that nobody is there, and what the place is called."""
    needed = {NOBODY_TAGS[0], *(tag for tags in NEEDED_PLACE_TAGS.values() for tag in tags)}
    chosen = [tag for group in groups.values() for tag in group]
    if rng.random() < 0.4:
        chosen = [str(tag) for tag in rng.permutation(chosen)]
    return ", ".join(tag for tag in chosen if tag in needed or rng.random() < keep)
