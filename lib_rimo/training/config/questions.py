"""The page's questions in plain words, each with the options that an answer sets.

They are for who does not know the options' names; an answer that fits what is set is shown as
chosen, whoever set it. The recipe's own answers come first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lib_rimo.training.config.built_in import BASE_BEHIND
from lib_rimo.training.config.options import TrainingOptions


@dataclass(frozen=True)
class Answer:
    """What can be answered, and what it sets."""

    text: str
    options: Mapping[str, Any]
    why: str = ""


@dataclass(frozen=True)
class Question:
    """A question with its answers, the usual one first."""

    text: str
    answers: tuple[Answer, ...]


QUESTIONS = (
    Question(
        "What is learned?",
        (
            Answer("a character", {"network_dim": 10, "network_alpha": 2.0}),
            Answer(
                "a style",
                {"network_dim": 16, "network_alpha": 8.0},
                "A style is in every part of a picture: more room for it, and more weight. Give "
                "more pictures, and captions that say what is on them. Not measured here.",
            ),
        ),
    ),
    Question(
        "How strongly?",
        (
            Answer("as the recipe does", {"max_train_steps": 1000}),
            Answer(
                "gently",
                {"max_train_steps": 600},
                "Stops earlier: less like the pictures, and freer in clothes, poses and places.",
            ),
            Answer(
                "strongly",
                {"max_train_steps": 1600},
                "Goes on longer: closer to the pictures, and sooner overfitted. Compare the saved "
                "steps at the end.",
            ),
        ),
    ),
    Question(
        "Backgrounds?",
        (
            Answer(
                "learned with the pictures",
                {name: getattr(TrainingOptions(), name) for name in BASE_BEHIND},
            ),
            Answer(
                "kept as the base model draws them",
                BASE_BEHIND,
                "Looks for the character in each picture; behind her the LoRA learns to draw what "
                "the base model draws, for somewhat longer steps. "
                "Where the pictures are plain, make them with other backgrounds besides.",
            ),
        ),
    ),
    Question(
        "Previews and steps to compare?",
        (
            Answer(
                "yes",
                {"sample_every_n_steps": 100, "save_every_n_steps": 200},
                "A picture every 100 steps, a LoRA every 200.",
            ),
            Answer("no", {"sample_every_n_steps": 0, "save_every_n_steps": 0}),
        ),
    ),
)
