"""What the base model is measured by."""

from __future__ import annotations

import numpy as np
import pytest

from lib_rimo.base_model.evaluation import described_prompts, likeness
from lib_rimo.demo.judge import Verdict, true_identity
from lib_rimo.demo.world import PLACES, Likeness


def test_rimochan_is_described_by_words_alone_in_every_place():
    prompts = described_prompts()
    assert [truth.place for truth, _ in prompts] == list(PLACES)
    assert {truth.pose for truth, _ in prompts} == {"standing", "sitting", "kneeling"}
    for truth, caption in prompts:
        assert true_identity(truth) == 1
        words = {"silver hair", "twintails", "purple tips", "yellow eyes", "aqua headphones"}
        assert words <= set(caption.split(", "))
        assert "rimochan" not in caption


def test_likeness_is_the_mean_over_pictures():
    def verdict(grade: float) -> Verdict:
        each = Likeness(hair=grade, tips=0, eyes=grade, ornament=1)
        return Verdict("", "", "", "", "", "", "", detail=0, likeness=each, twintails=grade)

    def judge(pictures):
        return [verdict(0.0), verdict(0.5)]

    found = likeness(judge, np.zeros((2, 8, 8, 3), np.uint8))
    assert found == pytest.approx(
        {"hair": 0.25, "tips": 0, "eyes": 0.25, "ornament": 1, "twintails": 0.25, "identity": 0.35}
    )
