import argparse
import shlex
from pathlib import Path

import pytest

from lib_rimo.commands import train
from lib_rimo.demo.recipe import Recipe, train_command
from lib_rimo.training.config.job_file import from_mapping


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"network_alpha": 5.0},
        {"optimizer_type": "AdamW", "optimizer_args": ["eps=1e-6", "a=b"]},
    ],
)
def test_command_trains_the_same(changes: dict[str, object]) -> None:
    options = Recipe("other", changes, factor=3).options(Path("a model"), Path("p"), Path("out"))
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    words = shlex.split(train_command(options))[4:]
    given = vars(parser.parse_args(words))
    for other in ("job", "resume", "overwrite", "events", "recipe"):
        given.pop(other)
    again, warnings = from_mapping(given)
    assert again == options
    assert not warnings


def test_recipe_is_the_default_but_for_the_rates() -> None:
    options = Recipe("recipe", factor=4).options(Path("m"), Path("p"), Path("o"))
    assert (options.unet_lr, options.text_encoder_lr) == (pytest.approx(2e-4), pytest.approx(8e-5))
    assert (options.network_dim, options.network_alpha) == (10, 2)
    assert (options.optimizer_type, options.max_train_steps) == ("Lion", 1000)
