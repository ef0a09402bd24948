"""The scorer beside the judge, in small; `python -m benchmarks.scoring` asks the same at length.

The pictures are recorded ones, of an embedded base model alone and with an overtrained LoRA at
strengths from 0.25 to 1.25: `--record` draws them anew.
"""

from __future__ import annotations

from statistics import mean

import numpy as np
import pytest
from PIL import Image

from benchmarks.scoring import (
    RECORD,
    RECORDED,
    accuracy,
    correlation,
    open_scorer,
    prompts_of,
    read_record,
)
from lib_rimo.demo.judge import WEIGHTS, Judge
from lib_rimo.demo.reproduce import FIVE
from lib_rimo.scoring.references import fitted, read_references
from lib_rimo.scoring.scorer import Score
from lib_rimo.sd import embedded

pytestmark = pytest.mark.skipif(
    not (embedded.MODEL.exists() and WEIGHTS.exists() and RECORD.exists()),
    reason="the base model or the judge is missing",
)
PROMPTS = prompts_of(RECORDED)


@pytest.fixture(scope="module")
def scorer():
    scorer = open_scorer()
    base, *_ = read_record()
    scorer.know_base({prompt: [drawn] for prompt, drawn in zip(PROMPTS, base, strict=True)})
    return scorer


def scored(scorer, pictures) -> Score:
    parts = [scorer.score(*one) for one in zip(PROMPTS, [0] * len(PROMPTS), pictures, strict=True)]
    return Score(mean(part.fit for part in parts), mean(part.keeping for part in parts))


@pytest.fixture(scope="module")
def scores(scorer) -> list[Score]:
    """Of each recorded state; of the base model first."""
    return [scored(scorer, pictures) for pictures in read_record()]


def test_goes_with_the_judge(scores):
    judge = Judge.load()
    verdicts = [judge(pictures) for pictures in read_record()]
    identities = [mean(one.identity for one in seen) for seen in verdicts]
    accuracies = [accuracy(seen, verdicts[0], RECORDED) for seen in verdicts]
    assert correlation([score.fit for score in scores], identities) >= 0.8
    assert correlation([score.keeping for score in scores], accuracies) >= 0.8


@pytest.mark.parametrize("side", [2, 4, 8])
def test_specks_of_all_colours_are_not_the_character(scorer, scores, side):
    """What pictures burn to: among so many specks something is like each striking bit of her."""
    rng = np.random.default_rng(side)
    width, height = embedded.RESOLUTION
    burnt = [
        Image.fromarray(
            rng.integers(0, 2, (height // side, width // side, 3), dtype=np.uint8) * 255
        ).resize(embedded.RESOLUTION, Image.Resampling.NEAREST)
        for _ in PROMPTS
    ]
    assert scored(scorer, burnt).fit < 0.5 * max(score.fit for score in scores)


def test_one_that_does_nothing_loses_and_so_does_one_that_redraws_its_training_pictures(
    scorer, scores
):
    five = [fitted(one, embedded.RESOLUTION).picture for one in read_references(FIVE)]
    redrawn = scored(scorer, five[: len(PROMPTS)])
    nothing, *states = scores
    assert nothing.total == pytest.approx(0, abs=0.01)
    assert redrawn.fit > max(state.fit for state in states)
    assert redrawn.total < max(state.total for state in states)
