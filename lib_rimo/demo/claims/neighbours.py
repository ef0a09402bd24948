"""Claim 6: the recipe against its neighbours, one thing changed at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lib_rimo.demo.charts import scatter_chart
from lib_rimo.demo.claims.generalisation import Standing, judge_recipes
from lib_rimo.demo.measures import Check, difference, is_above
from lib_rimo.demo.recipe import Recipe, train_command
from lib_rimo.demo.report import Chart, Section, Table, Text
from lib_rimo.demo.studio import Studio
from lib_rimo.sd import embedded
from lib_rimo.training.config.options import TrainingOptions
from lib_rimo.training.optimizers import make_schedule

RECIPE = "the recipe"
# name -> (short name, changed options, factor on the learning rates, augmented)
NEIGHBOURS: dict[str, tuple[str, dict[str, Any], float, bool]] = {
    RECIPE: ("recipe", {"network_alpha": 2.0}, 1, True),
    "AdamW, same rates": ("adamw", {"optimizer_type": "AdamW"}, 1, True),
    "AdamW, 3 x the rates": ("adamw-3x", {"optimizer_type": "AdamW"}, 3, True),
    "3 restarts": ("restarts-3", {"lr_scheduler_num_cycles": 3}, 1, True),
    "dim 4": ("dim-4", {"network_dim": 4, "network_alpha": 0.8}, 1, True),
    "dim 32": ("dim-32", {"network_dim": 32, "network_alpha": 6.4}, 1, True),
    "5 pictures": ("five", {}, 1, False),
}


def recipes(trainings: range) -> dict[str, list[Recipe]]:
    """The recipe and its neighbours, each with each training seed."""
    return {
        name: [
            Recipe(
                f"{short}-seed-{seed}",
                changes,
                factor=embedded.LEARNING_RATE_FACTOR * factor,
                seed=seed,
                augmented=augmented,
            )
            for seed in trainings
        ]
        for name, (short, changes, factor, augmented) in NEIGHBOURS.items()
    }


def neighbours(studio: Studio, trainings: range, pictures: int) -> Section:
    """Accuracy and identity of the recipe and its neighbours, with their spread."""
    wanted = recipes(trainings)
    standings = judge_recipes(studio, wanted, pictures)
    commands = "\n\n".join(train_command(studio.options(group[0])) for group in wanted.values())
    return Section(
        key="neighbours",
        title="The recipe against its neighbours",
        claim="Small dim, Lion, cosine with restarts, twenty pictures made of five.",
        checks=[*(_better(standings, name) for name in NEIGHBOURS if name != RECIPE)],
        items=[
            Chart(
                scatter_chart(
                    [
                        (name, standing.mean_identity, standing.mean_accuracy)
                        for name, standing in standings.items()
                    ],
                    x_label="identity",
                    y_label="prompt accuracy",
                    marked=RECIPE,
                ),
                "Up and to the right is better: both the character and the prompt.",
                command=commands,
            ),
            Table(
                ["", "prompt accuracy", "identity", "sum"],
                [
                    [
                        name,
                        str(standing.mean_accuracy),
                        str(standing.mean_identity),
                        f"{standing.mean_accuracy.value + standing.mean_identity.value:.2f}",
                    ]
                    for name, standing in standings.items()
                ],
                f"Means over {len(trainings)} trainings with their 95 % range.",
                command=commands,
                marked=frozenset({list(standings).index(RECIPE)}),
            ),
            Text(_cosine_note()),
        ],
    )


def _better(standings: dict[str, Standing], name: str) -> Check:
    def total(standing: Standing) -> list[float]:
        return [a + i for a, i in zip(standing.accuracy, standing.identity, strict=True)]

    return is_above(
        f"The recipe serves better than {name}: accuracy and identity together.",
        difference(total(standings[RECIPE]), total(standings[name])),
        what="sum of the recipe less the other's: ",
    )


def _cosine_note() -> str:
    apart = max(
        abs(one - other)
        for one, other in zip(
            schedule_rates("cosine"), schedule_rates("cosine_with_restarts"), strict=True
        )
    )
    return (
        "cosine_with_restarts with one cycle, the trainer's default and so the recipe's, is "
        f"cosine: over 1000 steps their rates differ by {apart:.1g} at most. So restarts are "
        "tried with 3 cycles here. Dims are compared at the recipe's own alpha / dim."
    )


def schedule_rates(name: str, steps: int = 1000) -> list[float]:
    """The learning rate of each step, as the trainer's schedule gives it."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = make_schedule(TrainingOptions(lr_scheduler=name), optimizer, steps)
    rates = []
    for _ in range(steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        schedule.step()
    return rates
