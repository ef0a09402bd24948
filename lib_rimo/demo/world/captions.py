"""Booru-style captions: tags that say what a drawing shows, some left out, roughly in order."""

from __future__ import annotations

import numpy as np

from .attributes import Attributes

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
QUALITY_TAGS = ("masterpiece", "best quality", "looking at viewer", "chibi", "highres")
FLAW_TAGS = {
    "blurry": ("blurry",),
    "monochrome": ("monochrome", "greyscale"),
    "low quality": ("worst quality", "low quality"),
}
_SYLLABLES = (
    *("ka", "ri", "mo", "chan", "yu", "na", "shi", "ro", "ha", "ru"),
    *("ko", "mi", "ai", "sa", "to", "ku", "ne"),
)  # of made-up names


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
    return ", ".join(tag for group in _groups(attributes) for tag in group)


def _groups(attributes: Attributes) -> list[list[str]]:
    """Tags in groups: subject, pose, place, looks, clothes, framing, flaws."""
    place = list(PLACE_TAGS[attributes.place])
    if attributes.place == "plain":
        place.append(f"{attributes.plain_colour} background")
    likeness = attributes.likeness  # no word says what is hers, so the LoRA alone can
    looks = [
        *([f"{attributes.hair_colour} hair", attributes.hair_style] if likeness.hair == 0 else []),
        *([f"{attributes.eye_colour} eyes"] if likeness.eyes == 0 else []),
        attributes.expression,
        attributes.gesture,
    ]
    pose = [attributes.pose] if attributes.framing == "full body" else []
    return [
        ["1girl", "solo"],
        pose + (["blush"] if attributes.blush else []),
        place,
        looks,
        clothes_tags(attributes) + (["choker"] if attributes.choker else []),
        [attributes.framing],
        list(FLAW_TAGS[attributes.flaw]) if attributes.flaw else [],
    ]


def caption(attributes: Attributes, rng: np.random.Generator) -> str:
    """A caption as people write them: the telling tags nearly always, the others now and then."""
    keep = 1.0 if rng.random() < 0.15 else float(rng.uniform(0.2, 0.7))
    needed = {
        "1girl",
        attributes.pose,
        f"{attributes.hair_colour} hair",
        attributes.hair_style,
        *NEEDED_PLACE_TAGS[attributes.place],
        *(FLAW_TAGS[attributes.flaw] if attributes.flaw else ()),
    }
    telling = set(OUTFIT_TAGS[attributes.outfit][:2])
    needed.add(str(rng.choice(sorted(telling))))
    framing_keep = 0.9 if attributes.framing == "upper body" else 0.4
    groups = []
    for group in _groups(attributes):
        kept = []
        for tag in group:
            chance = 0.95 if tag in needed else framing_keep if tag == attributes.framing else keep
            if rng.random() < chance:
                kept.append(tag)
        groups.append(kept)
    if rng.random() < 0.3:
        groups.insert(0, [str(rng.choice(QUALITY_TAGS))])
    if rng.random() < 0.1:  # names mean nothing to the model, which has to bear them
        groups.insert(int(rng.integers(len(groups))), ["".join(rng.choice(_SYLLABLES, 3))])
    if rng.random() < 0.5:
        groups = [groups[i] for i in rng.permutation(len(groups))]
    return ", ".join(tag for group in groups for tag in group)
