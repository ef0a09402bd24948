"""Captions are found beside the pictures and vary as kohya's trainer varies them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_rimo.errors import UserError
from lib_rimo.training.data.captions import (
    CaptionVariation,
    count_tags,
    has_trigger,
    join_tags,
    read_caption,
    split_tags,
    with_affixes,
    with_trigger,
)

tags = st.lists(st.text("abcdefgh_() :", min_size=1).map(str.strip).filter(bool), max_size=8)


def test_the_chosen_ending_comes_first_then_the_usual_ones(tmp_path: Path) -> None:
    picture = tmp_path / "1.png"
    assert read_caption(picture) is None
    (tmp_path / "1.caption").write_text("from caption")
    assert read_caption(picture) == "from caption"
    (tmp_path / "1.txt").write_text("from txt")
    assert read_caption(picture) == "from txt"
    assert read_caption(picture, ".caption") == read_caption(picture, "caption") == "from caption"
    (tmp_path / "1.tags").write_text("from tags")
    assert read_caption(picture, ".tags") == "from tags"
    assert read_caption(picture, ".none-use-foldername") is None


def test_lines_and_byte_order_marks_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "1.txt").write_bytes("1girl, solo,\r\n\r\nsitting, 莉沫\r\n".encode("utf-8-sig"))
    assert read_caption(tmp_path / "1.png") == "1girl, solo, sitting, 莉沫"


def test_an_empty_caption_is_none(tmp_path: Path) -> None:
    (tmp_path / "1.txt").write_text(" \n")
    assert read_caption(tmp_path / "1.png") is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_unicode_of_any_kind_is_read(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "1.txt").write_bytes("rimochan, 红色\n".encode(encoding))
    assert read_caption(tmp_path / "1.png") == "rimochan, 红色"


@pytest.mark.parametrize(
    ("encoding", "captions"),
    [
        ("gbk", ["少女, 红色和服", "长发, 蓝色眼睛, 微笑, 上半身", "单人, 黑色背景, 耳机"]),
        ("big5", ["少女, 紅色和服", "長髮, 藍色眼睛, 微笑, 上半身"]),
        ("cp1252", ["café girl, naïve", "señorita, 1girl"]),
    ],
)
def test_a_folders_captions_say_together_which_code_page_they_are_in(
    tmp_path: Path, encoding: str, captions: list[str]
) -> None:
    for number, caption in enumerate(captions):
        (tmp_path / f"{number}.txt").write_bytes(caption.encode(encoding))
    (tmp_path / "utf-8.txt").write_text("莉沫", encoding="utf-8")
    read = [read_caption(tmp_path / f"{number}.png") for number in range(len(captions))]
    assert read == captions


@pytest.mark.parametrize(
    "content",
    ["莉沫".encode("gbk"), "rimochan, 红色和服, 长发".encode()[:-1], b"\x00\x80\xff", b"\xff\xfea"],
)
def test_an_uncertain_encoding_is_refused_with_the_files_name(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "1.txt").write_bytes(content)
    with pytest.raises(UserError, match=r"encoding of .*1\.txt is uncertain"):
        read_caption(tmp_path / "1.png")


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("1girl, solo", "rimochan, 1girl, solo"),
        ("1girl, rimochan, solo", "rimochan, 1girl, solo"),
        ("a photo of rimochan, outdoors", "a photo of rimochan, outdoors"),
        ("rimochan2, solo", "rimochan, rimochan2, solo"),
        ("", "rimochan"),
    ],
)
def test_the_trigger_word_stands_in_every_caption(caption: str, expected: str) -> None:
    assert with_trigger(caption, "rimochan") == expected
    assert has_trigger(expected, "rimochan")
    assert with_trigger(expected, "rimochan") == expected


def test_no_trigger_word_changes_nothing() -> None:
    assert with_trigger("1girl,  solo", "") == "1girl,  solo"


@given(tags, st.integers(0, 10), st.integers())
def test_shuffling_keeps_the_tags_and_the_first_ones_in_place(
    found: list[str], keep: int, seed: int
) -> None:
    variation = CaptionVariation(shuffle_caption=True, keep_tokens=keep)
    shuffled = split_tags(variation.apply(join_tags(found), random.Random(seed)))
    assert shuffled[:keep] == found[:keep]
    assert sorted(shuffled) == sorted(found)


@given(tags, st.integers())
def test_dropping_every_tag_leaves_the_kept_ones(found: list[str], seed: int) -> None:
    variation = CaptionVariation(
        keep_tokens=1, caption_tag_dropout_rate=1.0, trigger_word="rimochan"
    )
    left = variation.apply(join_tags([*found, "a rimochan"]), random.Random(seed))
    assert split_tags(left) == list(dict.fromkeys([*found[:1], "a rimochan"]))


def test_rates_are_met() -> None:
    rng = random.Random(0)
    drops = CaptionVariation(caption_dropout_rate=0.25)
    empty = sum(drops.apply("a, b", rng) == "" for _ in range(4000))
    assert empty / 4000 == pytest.approx(0.25, abs=0.03)
    thins = CaptionVariation(caption_tag_dropout_rate=0.25)
    left = sum(len(split_tags(thins.apply("a, b, c, d", rng))) for _ in range(4000))
    assert left / 16000 == pytest.approx(0.75, abs=0.03)


def test_nothing_asked_nothing_changed() -> None:
    assert CaptionVariation().apply("b,a , c", random.Random(0)) == "b,a , c"


def test_tags_are_counted_once_a_caption_in_lower_case() -> None:
    assert count_tags(["1girl, Solo", "solo, (hat:1.2)"]) == {"1girl": 1, "solo": 2, "(hat:1.2)": 1}


def test_what_marks_fence_in_stays_in_place():
    variation = CaptionVariation(shuffle_caption=True, keep_tokens_separator="|||")
    seen = {variation.apply("a, b ||| c, d, e ||| f", random.Random(seed)) for seed in range(50)}
    assert len(seen) == 6
    assert all(caption.startswith("a, b, ") and caption.endswith(", f") for caption in seen)
    still = CaptionVariation(keep_tokens_separator="|||")
    assert still.apply("a, b ||| c, d", random.Random(0)) == "a, b, c, d"


def test_secondary_separators_keep_tags_together():
    variation = CaptionVariation(shuffle_caption=True, secondary_separator=";;;")
    seen = {variation.apply("a;;;b, c, d", random.Random(seed)) for seed in range(50)}
    assert len(seen) == 6
    assert all("a,b" in caption for caption in seen)


def test_wildcards_take_one_of_the_words_and_lines():
    variation = CaptionVariation(enable_wildcard=True)
    caption = "{red|blue} hat\n{{a|b}} hat"
    seen = {variation.apply(caption, random.Random(seed)) for seed in range(50)}
    assert seen == {"red hat", "blue hat", "{a|b} hat"}


def test_whole_epochs_go_without_captions():
    variation = CaptionVariation(caption_dropout_every_n_epochs=2)
    seen = [variation.apply("a", random.Random(0), epoch) for epoch in range(4)]
    assert seen == ["", "a", "", "a"]


def test_affixes_go_around_every_line():
    assert with_affixes("a, b\nc", "x,", "") == "x, a, b\nx, c"
    assert with_affixes("", "", "y") == "y"
