"""The prompts of the recipe's author, in words that the world knows."""

from __future__ import annotations

LORA = "rimochan"
TAG = f"<lora:{LORA}:1>"

NEGATIVE = (
    "(worst quality, low quality:1.4), (realistic, lip, nose, tooth, rouge, lipstick, "
    "eyeshadow:1.0), (abs, muscular, rib:1.0), (blurry, greyscale, monochrome:1.0), text, title, "
    "logo, signature"
)
KIMONO = (
    "(japanese clothes, kimono, print kimono, yellow kimono, yellow sleeves, strapless dress, "
    "dress, choker, obi, sash, detached sleeves: 0.8)"
)
POSES = ("sitting", "standing", "kneeling")
AUTHORS_PLACES = ("outdoors", "indoors")

# The world's name -> the words that ask for it.
OUTFIT_WORDS = {
    "kimono": KIMONO,
    "maid": "maid, maid headdress",
    "school uniform": "school uniform, serafuku",
    "witch": "witch, witch hat",
    "t-shirt": "t-shirt, shorts",
}
NOWHERE_OUTFITS = ("", "kimono", "t-shirt")  # where no place is named: none, hers, others
UNSEEN_OUTFITS = tuple(outfit for outfit in OUTFIT_WORDS if outfit != "kimono")
PLACE_WORDS = {
    "outdoors": "outdoors",
    "indoors": "indoors",
    "school": "outdoors, school",
    "classroom": "indoors, classroom",
    "beach": "outdoors, beach",
    "night": "outdoors, night",
}


def scene(
    pose: str, place: str = "", outfit: str = "", tag: str = TAG, *, trigger: bool = False
) -> str:
    """A prompt as the author writes them: `place` and `outfit` are the world's names.

    Without a place none is named. The author's prompts have no trigger word; `trigger` puts it in.
    """
    lines = [
        f"{LORA}, 1girl, solo," if trigger else "1girl, solo,",
        f"{pose}, blush, {PLACE_WORDS[place]}," if place else f"{pose}, blush,",
        f"{OUTFIT_WORDS[outfit]}," if outfit else "",
        tag,
    ]
    return "\n".join(line for line in lines if line)


def tag(strength: float = 1.0, vector: str = "") -> str:
    """The LoRA's tag with a strength and, where given, block weights."""
    return f"<lora:{LORA}:{strength:g}{':' if vector else ''}{vector}>"
