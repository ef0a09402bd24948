import pytest
import torch

from lib_rimo.errors import UserError
from lib_rimo.inference.prompt import encode_prompt
from lib_rimo.sd.text_encoding import clean_text, tokens_of
from lib_rimo.sd.tokenizer import clip_tokenizer
from lib_rimo.training.caption_encoder import CaptionEncoder
from tests.sd.narrow import narrow_checkpoint

FAMILIES = ("sd1", "sd2", "sdxl")


@pytest.fixture(scope="module")
def checkpoints():
    return {family: narrow_checkpoint(family) for family in FAMILIES}


def trained(checkpoint, caption, clip_skip):
    caption_encoder = CaptionEncoder(checkpoint, clip_skip=clip_skip)
    with torch.no_grad():
        return caption_encoder._encode(caption_encoder._tokens([caption]))


@pytest.mark.parametrize("clip_skip", [1, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_training_and_drawing_read_the_same_states(checkpoints, family, clip_skip):
    caption = "rimochan，１girl, “standing”"
    states, *pooled = trained(checkpoints[family], caption, clip_skip)
    drawn = encode_prompt(checkpoints[family], caption, clip_skip=clip_skip)
    torch.testing.assert_close(states, drawn.states, rtol=0, atol=0)
    assert bool(pooled) == (drawn.pooled is not None)
    if pooled:
        torch.testing.assert_close(pooled[0], drawn.pooled, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("family", "moves"), [("sd1", True), ("sd2", False), ("sdxl", False)], ids=FAMILIES
)
def test_clip_skip_counts_for_sd1_only(checkpoints, family, moves):
    first = encode_prompt(checkpoints[family], "a cat", clip_skip=1).states
    second = encode_prompt(checkpoints[family], "a cat", clip_skip=2).states
    assert torch.equal(first, second) != moves


def test_a_layer_that_is_not_there_is_refused(checkpoints):
    assert encode_prompt(checkpoints["sd1"], "a cat", clip_skip=3).states.isfinite().all()
    with pytest.raises(UserError, match=r"clip_skip is 4: .* has 3 layers"):
        encode_prompt(checkpoints["sd1"], "a cat", clip_skip=4)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("1girl, hair_ribbon, it's <3", "1girl, hair_ribbon, it's <3"),
        ("１girl，女孩", "1girl,女孩"),
        ("“don’t”", '"don\'t"'),
        ("ﬁsh &amp; chips", "fish & chips"),
        ("cafÃ©", "café"),
        ("&eacute;<|endoftext|>&gt;", "é<|endoftext|>>"),
    ],
)
def test_texts_are_cleaned_as_by_clips_own_tokenizer(text, clean):
    assert clean_text(text) == clean


def test_tokens_are_those_of_transformers_4_with_ftfy():
    """Made with its CLIPTokenizer (4.54.1, ftfy 6.3.1), as kohya's trainer and the WebUIs have."""
    tokens = [272, 1611, 3823, 29290, 111, 35751, 358, 257, 261, 2759]
    assert tokens_of(clip_tokenizer(), "１girl，“女孩” &amp; ﬁsh") == tokens
