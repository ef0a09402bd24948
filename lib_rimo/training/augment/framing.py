"""Whole, upper body, close-up: which part of a picture each is, and what its caption says."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from lib_rimo.errors import UserError
from lib_rimo.sd.size import Size
from lib_rimo.training.augment.focus import Box, Focus
from lib_rimo.training.data.captions import join_tags, split_tags
from lib_rimo.training.data.pictures import Picture

Span = tuple[float, float]
"""From where to where the character reaches along one side of the picture."""
OutOfFrame = Mapping[str, frozenset[str]]
"""For each crop the words that end a tag which its caption loses."""

WHOLE, UPPER_BODY, CLOSE_UP = "whole", "upper body", "close-up"
# Tags that say how much of a character is seen, the widest first.
FRAMING_TAGS = (
    "very wide shot", "wide shot", "full body", "feet out of frame", "cowboy shot",
    UPPER_BODY, "portrait", "face", CLOSE_UP,
)  # fmt: skip

# Heights of crops. In heads, from the hair to the chin: a face with a bit of neck, and down to the
# waist of a character of usual proportions. A large head takes much of a small body: there the
# upper body is so much of the character, or so many heads. It is always that much larger than the
# close-up. Of what the head leaves free, a quarter goes above it.
_CLOSE_UP_HEADS, _CLOSE_UP_HEAD_WIDTHS = 1.2, 0.8
_UPPER_BODY_HEADS, _UPPER_BODY_PART, _LEAST_UPPER_BODY_HEADS = 2.6, 0.66, 1.9
_LEAST_DIFFERENCE = 1.2
_ABOVE_HEAD = 0.25
# A crop that shows nearly everything is none, nor one so small that it would be a blur: of the
# picture, of the character, and how often enlarged.
_LARGEST_CROP, _LARGEST_PART, _MOST_ENLARGED = 0.85, 0.8, 4.0
# What a whole picture may lose of its longer side before it is given a margin: in any case, and
# where that is only background.
_CROPPED_AWAY, _BACKGROUND_CROPPED_AWAY = 0.08, 0.35


def whole_box(picture: Picture, focus: Focus, size: Size) -> Box:
    """Choose the part that shows the whole picture in another shape, without stretching it.

    Of the side that is too long a little is cropped, and some more where that is background; what
    is still missing on the other side becomes a margin.
    """
    width, height = picture.size
    aspect = size[0] / size[1]
    columns, rows = (focus.subject[0], focus.subject[2]), (focus.subject[1], focus.subject[3])
    if width >= height * aspect:
        length = _kept(columns, width, height * aspect, all(_cuts(rows, height)))
        left = _placed(columns, length, width)
        top = _with_margin(rows, length / aspect, height)
        return (left, top, left + length, top + length / aspect)
    length = _kept(rows, height, width / aspect, all(_cuts(columns, width)))
    top = _placed(rows, length, height)
    left = _with_margin(columns, length * aspect, width)
    return (left, top, left + length * aspect, top + length)


def _kept(subject: Span, side: float, wanted: float, cut_across: bool) -> float:
    """Choose how much stays of a side that is too long; `wanted` needs no margin."""
    if wanted >= side * (1 - _CROPPED_AWAY):
        return wanted
    # A character that both edges of the other side cut would float between its two margins.
    least = 0.0 if cut_across else 1.04 * (subject[1] - subject[0])
    return min(side, max(wanted, least, side * (1 - _BACKGROUND_CROPPED_AWAY)))


def _placed(subject: Span, length: float, side: float) -> float:
    """Put a window on a side: in the middle, moved as little as shows the character.

    What room there is, up to 2%, stays on both sides of it: outlines are found roughly.
    """
    low, high = subject
    middle = (side - length) / 2
    if high - low > length:
        return min(max(0.0, (low + high - length) / 2), side - length)
    room = min(0.02 * (high - low), (length - (high - low)) / 2)
    low, high = max(0.0, low - room), min(side, high + room)
    return min(max(middle, high - length, 0.0), low, side - length)


def _with_margin(subject: Span, length: float, side: float) -> float:
    """Put a side into a longer window; an edge that cuts the character gets no margin."""
    cut_low, cut_high = _cuts(subject, side)
    share = 0.5 if cut_low == cut_high else float(cut_high)
    return -share * (length - side)


def _cuts(subject: Span, side: float) -> tuple[bool, bool]:
    return subject[0] <= 0.02 * side, subject[1] >= 0.98 * side


def crop_boxes(picture: Picture, focus: Focus, size: Size, caption: str) -> dict[str, Box]:
    """Find the upper body and the face, as far as these are worth a picture of their own.

    A picture whose caption says that it is a close-up has no upper body to show, and so on.
    """
    aspect = size[0] / size[1]
    left, top, right, bottom = focus.head
    head_width, head_height = right - left, bottom - top
    subject_height = focus.subject[3] - focus.subject[1]
    close_up = max(_CLOSE_UP_HEADS * head_height, _CLOSE_UP_HEAD_WIDTHS * head_width / aspect)
    large_head = max(_UPPER_BODY_PART * subject_height, _LEAST_UPPER_BODY_HEADS * head_height)
    upper_body = max(min(_UPPER_BODY_HEADS * head_height, large_head), _LEAST_DIFFERENCE * close_up)
    highest = min(picture.size[1], picture.size[0] / aspect)
    narrowest = narrowest_framing(caption)
    # The upper body ends here at the latest: rather more above the head than the legs.
    lowest = focus.subject[1] + _LARGEST_PART * subject_height
    boxes = {}
    for framing, wanted in ((UPPER_BODY, upper_body), (CLOSE_UP, close_up)):
        height = min(wanted, highest)
        crop_top = top - _ABOVE_HEAD * max(0.0, height - head_height)
        if framing == UPPER_BODY:
            crop_top = min(crop_top, lowest - height)
        corner = ((left + right - height * aspect) / 2, crop_top)
        box = _moved_inside(corner, (height * aspect, height), picture)
        if (
            height <= _LARGEST_CROP * highest
            and (framing == CLOSE_UP or box[3] <= lowest + 1)
            and size[1] <= _MOST_ENLARGED * height
            and FRAMING_TAGS.index(framing) > narrowest
        ):
            boxes[framing] = box
    return boxes


def narrowest_framing(caption: str) -> int:
    """Of a caption's tags in `FRAMING_TAGS` the last one's index there; -1: it has none."""
    framings = [
        FRAMING_TAGS.index(tag)
        for tag in map(str.lower, split_tags(caption))
        if tag in FRAMING_TAGS
    ]
    return max(framings, default=-1)


def _moved_inside(corner: tuple[float, float], size: tuple[float, float], picture: Picture) -> Box:
    left, top = (
        min(max(0.0, start), side - length)
        for start, length, side in zip(corner, size, picture.size, strict=True)
    )
    return (left, top, left + size[0], top + size[1])


def read_out_of_frame(more: str = "") -> OutOfFrame:
    """Read the list that comes along, and `more`: a file like it, or words with commas.

    Words without a framing leave the captions of both crops. Raises UserError.
    """
    text = Path(__file__).with_name("out_of_frame.txt").read_text(encoding="utf-8")
    if more:
        file = Path(more)
        text += "\n" + (file.read_text(encoding="utf-8-sig") if file.is_file() else more)
    found: dict[str, set[str]] = {UPPER_BODY: set(), CLOSE_UP: set()}
    for line in text.replace(";", "\n").splitlines():
        line = line.partition("#")[0]
        framing, colon, words = line.partition(":")
        framing = framing.strip().lower()
        if colon and framing in found:
            crops = [framing]
        elif colon and framing and "," not in framing:
            raise UserError(
                '"{framing}:" in the out-of-frame list is no crop; write "{upper}:" or "{close}:".',
                framing=framing,
                upper=UPPER_BODY,
                close=CLOSE_UP,
            )
        else:  # A colon may be part of a tag: ":d".
            crops, words = list(found), line
        for crop in crops:
            found[crop] |= {word.lower() for word in split_tags(words)}
    # What the upper body does not show, the face does not either.
    found[CLOSE_UP] |= found[UPPER_BODY]
    return {framing: frozenset(words) for framing, words in found.items()}


def crop_caption(caption: str, framing: str, out_of_frame: OutOfFrame) -> str:
    """Make the caption say what a crop shows: its framing, and nothing that left the frame."""
    if framing == WHOLE or not caption:
        return caption
    tags = [
        tag for tag in split_tags(caption) if not ends_with_any(tag.lower(), out_of_frame[framing])
    ]
    framings = [tag for tag in tags if tag.lower() in FRAMING_TAGS]
    # The crop's own tag takes the place of the first that said something else.
    place = tags.index(framings[0]) if framings else len(tags)
    tags.insert(place, framing)
    return join_tags(tag for tag in tags if tag == framing or tag not in framings)


def ends_with_any(tag: str, endings: Collection[str]) -> bool:
    """Whether the last words of a tag, as many as it takes, are among these."""
    words = tag.replace("_", " ").split(" ")
    return any(" ".join(words[start:]) in endings for start in range(len(words)))
