"""The scorer, with an encoder that reads features and words off plain pictures."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from lib_rimo.scoring.scorer import Reference, Score, Scorer, words_of

SHE, GROUND, SKY = (200, 20, 160), (250, 250, 250), (20, 120, 230)


class Colours:
    """Pixels are the features; a blue picture shows the word "sky"."""

    def latents(self, pictures: Sequence[Image.Image]) -> Tensor:
        pixels = np.stack([np.asarray(picture.convert("RGB")) for picture in pictures])
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255

    def features(self, latents: Tensor) -> Tensor:
        centred = latents.flatten(2).transpose(1, 2) - 0.5
        return functional.normalize(centred, dim=-1)

    def errors(self, latents: Tensor, prompt: str) -> Tensor:
        blue = (latents[:, 2] > latents[:, 0] + 0.2).float().mean((1, 2))  # (N,)
        return 1 - blue * ("sky" in prompt)


def picture(ground: tuple[int, int, int], she: bool = False, left: int = 2) -> Image.Image:
    image = Image.new("RGB", (8, 8), ground)
    if she:
        image.paste(SHE, (left, 2, left + 3, 8))
    return image


@pytest.fixture
def scorer() -> Scorer:
    mask = Image.new("L", (8, 8))
    mask.paste(255, (2, 2, 5, 8))
    reference = Reference(picture(GROUND, she=True), mask)
    return Scorer(Colours(), [reference, reference], {"rimochan"})


PROMPT = "rimochan, 1girl, sky <lora:rimochan:1>"


def scored(scorer: Scorer, image: Image.Image) -> Score:
    scorer.know_base({PROMPT: [picture(SKY)]})
    return scorer.score(PROMPT, 0, image)


def test_a_lora_that_does_nothing_fits_nothing_and_keeps_all(scorer: Scorer):
    score = scored(scorer, picture(SKY))
    assert (score.fit, score.keeping, score.total) == pytest.approx((0, 1, 0))


def test_one_that_redraws_its_training_pictures_fits_and_keeps_nothing(scorer: Scorer):
    score = scored(scorer, picture(GROUND, she=True))
    assert (score.fit, score.keeping, score.total) == pytest.approx((1, 0, 0), abs=1e-3)


def test_the_character_elsewhere_in_what_was_asked_wins(scorer: Scorer):
    score = scored(scorer, picture(SKY, she=True, left=4))
    assert score.fit == pytest.approx(1, abs=1e-3)
    assert score.keeping > 0.6
    assert score.total > 0.75


def test_words_that_say_the_same_are_asked_together(scorer: Scorer):
    prompt = "1girl, sky, blue sky, smile"
    scorer.know_base({prompt: [picture(SKY)]})
    assert scorer.score(prompt, 0, picture(SKY, she=True)).keeping == 1
    assert scorer.score(prompt, 0, picture(GROUND)).keeping == 0


def test_words_are_parted_without_tags_and_emphasis():
    prompt = "1girl, (maid, maid headdress:1.2),\n[outdoors] BREAK night, 1girl <lora:a:1:IN07@0>"
    assert words_of(prompt) == ["1girl", "maid", "maid headdress", "outdoors", "night"]


def test_the_characters_own_words_need_not_be_kept(scorer: Scorer):
    scorer._own_words.add("sky")
    assert scored(scorer, picture(GROUND)).keeping == 1
