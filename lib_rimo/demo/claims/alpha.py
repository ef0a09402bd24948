"""Claim 5: with an alpha above 3 the LoRA generalises worse."""

from __future__ import annotations

from statistics import fmean

from lib_rimo.demo.charts import line_chart
from lib_rimo.demo.claims.generalisation import judge_lora, judge_recipes
from lib_rimo.demo.measures import difference, is_above
from lib_rimo.demo.recipe import Recipe, train_command
from lib_rimo.demo.report import Chart, Section, Table, Text
from lib_rimo.demo.studio import Studio

ALPHAS = (1, 2, 3, 5, 10)
LOW, HIGH = (1, 2, 3), (5, 10)


def recipes(trainings: range) -> dict[str, list[Recipe]]:
    """Each alpha with each training seed; 2 is the recipe itself."""
    return {
        f"alpha {alpha}": [
            Recipe(
                f"alpha-{alpha}-seed-{seed}" if alpha != 2 else f"recipe-seed-{seed}",
                {"network_alpha": float(alpha)},
                seed=seed,
            )
            for seed in trainings
        ]
        for alpha in ALPHAS
    }


def alpha(studio: Studio, trainings: range, pictures: int) -> Section:
    """Prompt accuracy and identity over alpha."""
    wanted = recipes(trainings)
    standings = judge_recipes(studio, wanted, pictures)
    base, _ = judge_lora(studio, None, pictures, "no LoRA")

    def group(alphas: tuple[int, ...]) -> list[float]:
        """Mean accuracy over the alphas, for each training seed."""
        columns = [standings[f"alpha {value}"].accuracy for value in alphas]
        return [fmean(values) for values in zip(*columns, strict=True)]

    command = train_command(studio.options(wanted["alpha 5"][0]))
    return Section(
        key="alpha",
        title="Alpha",
        claim="With alpha above 3, at dim 10, the LoRA generalises visibly worse.",
        checks=[
            is_above(
                "Prompts for new clothes and places are followed better with alpha 1 to 3 than "
                "with 5 and 10.",
                difference(group(LOW), group(HIGH)),
                what="accuracy at 1-3 less accuracy at 5-10: ",
            )
        ],
        items=[
            Chart(
                line_chart(
                    ALPHAS,
                    [
                        ("identity", [s.mean_identity for s in standings.values()]),
                        ("prompt accuracy", [s.mean_accuracy for s in standings.values()]),
                    ],
                    x_label="alpha",
                ),
                f"Means over {len(trainings)} trainings with their 95 % range; {base:.2f} of the "
                "base model's own pictures are as asked.",
                command=command,
            ),
            Table(
                ["", "prompt accuracy", "identity"],
                [
                    [name, str(standing.mean_accuracy), str(standing.mean_identity)]
                    for name, standing in standings.items()
                ],
                "Accuracy is the share of outfits and places that the judge finds as asked.",
                command=command,
            ),
            Text(
                "Alpha scales what the layers add. Lion's steps have the same length however "
                "large the gradient is, so with Lion twice the alpha also means twice the "
                "learning: at equal steps a higher alpha has learned more, and forgotten more."
            ),
        ],
    )
