"""Captions that do not mean the character."""

import pytest

from lib_rimo.errors import UserError
from lib_rimo.training.data.prior_captions import PriorCaptions, read_prior_prompts


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("rimochan, 1girl, smile", "1girl, smile"),
        ("1girl, rimochan (singer), smile", "1girl, (singer), smile"),
        ("a photo of rimochan at school, night", "a photo of at school, night"),
        ("rimochanel, 1girl", "rimochanel, 1girl"),
        ("rimochan", ""),
        ("1girl", "1girl"),
    ],
)
def test_the_trigger_word_is_left_out(caption, expected):
    assert PriorCaptions(1.0, "rimochan").without_trigger(caption) == expected


def test_they_come_as_often_as_asked_and_again_from_the_same_seed():
    captions = PriorCaptions(0.25, "", ("a", "b"))
    drawn = [captions.draw("1girl", f"1 prior {step} 0") for step in range(2000)]
    assert drawn == [captions.draw("1girl", f"1 prior {step} 0") for step in range(2000)]
    count = {caption: drawn.count(caption) for caption in (None, "a", "b")}
    assert count[None] == pytest.approx(1500, abs=80)
    assert count["a"] == pytest.approx(count["b"], abs=60)
    assert PriorCaptions(0.0, "x").draw("1girl", "1") is None


def test_scenes_are_drawn_from_tags():
    captions = PriorCaptions(1.0, "rimochan", read_prior_prompts(" scenes "))
    drawn = [captions.draw("rimochan, 1girl", str(seed)) for seed in range(300)]
    assert not any("rimochan" in caption for caption in drawn)
    assert 100 < sum("no humans" in caption for caption in drawn) < 200
    assert all(("solo" in caption) != ("no humans" in caption) for caption in drawn)
    assert len(set(drawn)) > 100


def test_prompts_are_lines_of_a_file(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("# places\nforest, tree\n\nbeach\n")
    assert read_prior_prompts(str(path)) == ("forest, tree", "beach")
    assert read_prior_prompts("") == ()
    path.write_text("# places\n")
    for wrong in (path, tmp_path / "none.txt"):
        with pytest.raises(UserError, match="holds no prompts"):
            read_prior_prompts(str(wrong))
