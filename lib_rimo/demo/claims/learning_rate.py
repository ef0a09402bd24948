"""How much of the recipe's learning rates a narrow model needs to learn the character."""

from __future__ import annotations

from lib_rimo.demo.charts import line_chart
from lib_rimo.demo.claims.generalisation import judge_lora, judge_recipes
from lib_rimo.demo.recipe import Recipe, train_command
from lib_rimo.demo.report import Chart, Section, Table
from lib_rimo.demo.studio import Studio
from lib_rimo.sd import embedded

FACTORS = (1.0, 2.0, 4.0, 8.0, 16.0)


def recipes(trainings: range) -> dict[str, list[Recipe]]:
    """The recipe at each factor on its learning rates."""
    return {
        f"x {factor:g}": [
            Recipe(
                f"recipe-seed-{seed}"
                if factor == embedded.LEARNING_RATE_FACTOR
                else f"rate-x{factor:g}-seed-{seed}",
                {"network_alpha": 2.0},
                factor=factor,
                seed=seed,
            )
            for seed in trainings
        ]
        for factor in FACTORS
    }


def learning_rate(studio: Studio, trainings: range, pictures: int) -> Section:
    """Accuracy and identity over the factor."""
    wanted = recipes(trainings)
    standings = judge_recipes(studio, wanted, pictures)
    base, base_identity = judge_lora(studio, None, pictures, "no LoRA")
    command = train_command(studio.options(wanted["x 1"][0]))
    return Section(
        key="learning-rate",
        title="The learning rates at this model's width",
        claim="The recipe's rates, 5e-05 for the UNet and 2e-05 for the text encoder, are for "
        "Stable Diffusion, whose layers are five to ten times as wide.",
        items=[
            Chart(
                line_chart(
                    FACTORS,
                    [
                        ("identity", [s.mean_identity for s in standings.values()]),
                        ("prompt accuracy", [s.mean_accuracy for s in standings.values()]),
                    ],
                    x_label="factor on both learning rates",
                    logarithmic=True,
                ),
                f"The base model alone: accuracy {base:.2f}, identity {base_identity:.2f}. All "
                f"other sections use the factor {embedded.LEARNING_RATE_FACTOR:g}.",
                command=command,
            ),
            Table(
                ["factor", "prompt accuracy", "identity"],
                [
                    [name, str(standing.mean_accuracy), str(standing.mean_identity)]
                    for name, standing in standings.items()
                ],
                f"New clothes and places, 1000 steps; trainings each: {len(trainings)}.",
                command=command,
            ),
        ],
    )
