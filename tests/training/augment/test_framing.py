"""Crops anchor on the character and its head, and captions say what a crop shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lib_rimo.errors import UserError
from lib_rimo.training.augment.focus import Focus
from lib_rimo.training.augment.framing import (
    CLOSE_UP,
    UPPER_BODY,
    WHOLE,
    crop_boxes,
    crop_caption,
    read_out_of_frame,
    whole_box,
)
from lib_rimo.training.data.pictures import Picture

CAPTION = "rimochan, 1girl, standing, ponytail, black shoes, pleated skirt, kimono, full body"


def picture(width: int, height: int) -> Picture:
    return Picture(Path("1.png"), Image.new("RGB", (width, height)), None, "")


def focus(subject: tuple[float, float, float, float]) -> Focus:
    """A character six heads tall."""
    left, top, right, bottom = subject
    head = (bottom - top) / 6
    middle = (left + right) / 2
    return Focus(subject, (middle - head / 2, top, middle + head / 2, top + head), True)


def inside(box: tuple[float, ...], size: tuple[int, int]) -> bool:
    left, top, right, bottom = box
    return left >= -1e-6 and top >= -1e-6 and right <= size[0] + 1e-6 and bottom <= size[1] + 1e-6


def test_a_crop_names_itself_and_loses_what_left_the_frame() -> None:
    out_of_frame = read_out_of_frame()
    assert crop_caption(CAPTION, WHOLE, out_of_frame) == CAPTION
    assert crop_caption(CAPTION, UPPER_BODY, out_of_frame) == (
        "rimochan, 1girl, standing, ponytail, pleated skirt, kimono, upper body"
    )
    assert crop_caption(CAPTION, CLOSE_UP, out_of_frame) == (
        "rimochan, 1girl, ponytail, kimono, close-up"
    )


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("full body, 1girl, wide shot", "close-up, 1girl"),
        ("1girl, upper body", "1girl, close-up"),
        ("1girl, twintails, cat tail, foxtail grass", "1girl, twintails, foxtail grass, close-up"),
        ("1girl, own_hands_together, Sitting", "1girl, own_hands_together, close-up"),
        ("shoes", "close-up"),
        ("", ""),
    ],
)
def test_tags_go_by_their_last_words(caption: str, expected: str) -> None:
    out = {CLOSE_UP: frozenset({"tail", "shoes", "sitting"})}
    assert crop_caption(caption, CLOSE_UP, out) == expected


def test_more_words_leave_the_frame_when_asked(tmp_path: Path) -> None:
    both = read_out_of_frame("sword, :d")
    assert crop_caption("a, long sword, :d", UPPER_BODY, both) == "a, upper body"
    one = read_out_of_frame("close-up: sword; upper body: shield")
    assert crop_caption("sword, shield", UPPER_BODY, one) == "sword, upper body"
    assert crop_caption("sword, shield", CLOSE_UP, one) == "close-up"
    file = tmp_path / "words.txt"
    file.write_text("# mine\nclose-up: sword\n")
    assert crop_caption("a, sword", CLOSE_UP, read_out_of_frame(str(file))) == "a, close-up"


def test_an_unknown_crop_in_the_list_is_named() -> None:
    with pytest.raises(UserError, match="closeup"):
        read_out_of_frame("closeup: sword")


def test_upper_body_and_face_contain_the_head_and_differ() -> None:
    found = focus((300.0, 100.0, 700.0, 1300.0))
    boxes = crop_boxes(picture(1000, 1400), found, (448, 704), CAPTION)
    assert list(boxes) == [UPPER_BODY, CLOSE_UP]
    for box in boxes.values():
        assert inside(box, (1000, 1400))
        assert (box[2] - box[0]) / (box[3] - box[1]) == pytest.approx(448 / 704)
        assert box[1] <= found.head[1]
        assert box[3] >= found.head[3]
    assert boxes[UPPER_BODY][3] - boxes[UPPER_BODY][1] == pytest.approx(2.6 * 200)
    assert boxes[CLOSE_UP][3] - boxes[CLOSE_UP][1] < 1.4 * 200


def test_a_crop_that_would_be_a_blur_is_not_made() -> None:
    found = focus((300.0, 100.0, 700.0, 1300.0))
    boxes = crop_boxes(picture(1000, 1400), found, (1024, 1024), CAPTION)
    assert list(boxes) == [UPPER_BODY]


@pytest.mark.parametrize(
    ("framing", "left"),
    [("full body", [UPPER_BODY, CLOSE_UP]), ("upper body", [CLOSE_UP]), ("close-up", [])],
)
def test_a_picture_has_no_wider_framing_than_its_own(framing: str, left: list[str]) -> None:
    found = focus((300.0, 100.0, 700.0, 1300.0))
    boxes = crop_boxes(picture(1000, 1400), found, (448, 704), f"1girl, {framing}")
    assert list(boxes) == left


sides = st.integers(64, 2000)


@given(st.tuples(sides, sides), st.tuples(sides, sides), st.data())
def test_the_whole_picture_is_never_stretched_and_keeps_the_character(
    size: tuple[int, int], target: tuple[int, int], data: st.DataObject
) -> None:
    left = data.draw(st.integers(1, size[0] - 10))
    top = data.draw(st.integers(1, size[1] - 10))
    right = data.draw(st.integers(left + 5, size[0]))
    bottom = data.draw(st.integers(top + 5, size[1]))
    found = focus((left, top, right, bottom))
    box = whole_box(picture(*size), found, target)
    assert (box[2] - box[0]) * target[1] == pytest.approx((box[3] - box[1]) * target[0])
    # It fills one direction at least: there is no margin all around.
    assert inside((box[0], 0, box[2], 0), size) or inside((0, box[1], 0, box[3]), size)
    slack = 0.08 * max(size) + 1
    cut = left <= 0.02 * size[0] or top <= 0.02 * size[1]
    if not cut:
        assert box[0] <= left + slack
        assert box[1] <= top + slack


def test_a_character_cut_by_the_lower_edge_stands_on_it() -> None:
    bust = focus((50.0, 60.0, 250.0, 320.0))
    box = whole_box(picture(300, 320), bust, (448, 704))
    assert box[3] == pytest.approx(320)
    assert box[1] < 0


def test_background_is_cropped_before_a_margin_is_added() -> None:
    found = focus((900.0, 100.0, 1000.0, 650.0))
    box = whole_box(picture(1000, 700), found, (448, 704))
    assert box[2] == pytest.approx(1000)
    assert box[2] - box[0] == pytest.approx(650)
