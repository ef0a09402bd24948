"""The two runs: `demo`, the recipe once with its author's plots, and `reproduce`, every claim."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from PIL import Image

from lib_rimo import __version__
from lib_rimo.demo.claims.alpha import alpha
from lib_rimo.demo.claims.blocks import block_by_block, blocks
from lib_rimo.demo.claims.clothes import clothes
from lib_rimo.demo.claims.cure import cure
from lib_rimo.demo.claims.cure import opening as before_and_after
from lib_rimo.demo.claims.learning_rate import learning_rate
from lib_rimo.demo.claims.neighbours import neighbours
from lib_rimo.demo.claims.plain import plain
from lib_rimo.demo.claims.strength import strength
from lib_rimo.demo.judge import WEIGHTS as JUDGE
from lib_rimo.demo.judge import Judge
from lib_rimo.demo.plainness import is_plain
from lib_rimo.demo.prompts import LORA
from lib_rimo.demo.recipe import Recipe, train_command
from lib_rimo.demo.report import Pictures, Report, Section, write_report
from lib_rimo.demo.studio import Look, Seen, Studio
from lib_rimo.demo.tasks import core_count
from lib_rimo.errors import UserError
from lib_rimo.files import copy_whole, file_hash
from lib_rimo.sd import embedded
from lib_rimo.sd.family import Family
from lib_rimo.training.config.built_in import BACKGROUNDS_KEPT, BUILT_IN

FIVE = Path(__file__).parent / "rimochan"


class WorldJudge:
    """The world's own judge, loaded when there is something to look at."""

    def __init__(self, weights: Path = JUDGE) -> None:
        self.weights = weights
        self.name = f"{file_hash(weights)[:8]}-plain"  # plainness is not the network's

    @cached_property
    def _judge(self) -> Judge:
        return Judge.load(self.weights)

    def look(self, images: Sequence[Image.Image]) -> list[Seen]:
        """What each picture shows."""
        return [
            Seen(
                verdict.outfit,
                verdict.pose,
                verdict.place,
                identity=verdict.identity,
                detail=verdict.detail,
                plain=is_plain(image),
                twintails=verdict.twintails,
                cloth_colour=verdict.cloth_colour,
                **dataclasses.asdict(verdict.likeness),
            )
            for image, verdict in zip(images, self._judge(images), strict=True)
        ]


@dataclass(frozen=True)
class Scope:
    """How many pictures are drawn, and how many LoRAs of a recipe trained."""

    cell_pictures: int  # of each cell of the plain sample and the clothes
    scene_seeds: int  # 1 to this, of the one scene of strengths and blocks
    backgrounds: int  # pictures of each prompt that backgrounds are compared in
    comparison_pictures: int = 0  # of each outfit in each place, for comparing LoRAs
    trainings: int = 1


DEMO = Scope(cell_pictures=5, scene_seeds=12, backgrounds=5)
QUICK = Scope(cell_pictures=2, scene_seeds=8, backgrounds=2, comparison_pictures=1)
WHOLE = Scope(cell_pictures=8, scene_seeds=32, backgrounds=12, comparison_pictures=2, trainings=3)

PLACES = 20  # that she is put into, so that no plain ground is learned with her

NOW_YOURS = (
    (
        "In the browser: drop your pictures in, choose your checkpoint, Train.",
        "python -m lib_rimo ui",
    ),
    (
        "Or here: twenty pictures of your five, in places that your base model draws,",
        "python -m lib_rimo augment my_pictures my_twenty --model sd15.safetensors --scenes 20",
    ),
    (
        "and a LoRA of them.",
        f'python -m lib_rimo train --recipe "{BACKGROUNDS_KEPT}" '
        "--pretrained_model_name_or_path sd15.safetensors "
        "--train_data_dir my_twenty --trigger_word my_character --resolution 448,704 "
        "--output_name my_character",
    ),
)


def upto(count: int) -> range:
    """Seeds 1 to `count`."""
    return range(1, count + 1)


def open_studio(folder: Path, *, family: Family = "sd1", processes: int | None = None) -> Studio:
    """A studio for the embedded world; UserError where something of it is missing."""
    model = embedded.MODELS[family]
    parts = ((model, "base model"), (JUDGE, "judge"), (FIVE, "folder of five pictures"))
    for path, what in parts:
        if not path.exists():
            raise UserError(f"The {what} {path} is missing: get the whole project again.")
    return Studio(folder, model, FIVE, WorldJudge(), Look(), processes or core_count())


def demo(
    studio: Studio, scope: Scope = DEMO, factor: float = embedded.LEARNING_RATE_FACTOR
) -> Path:
    """Train the recipe and its cure, draw the author's four plots, and write the report; its path.

    The two are trained side by side where there are two cores.
    """
    recipe = Recipe("recipe-seed-1", factor=factor)
    lora, kept = train_recipe(studio, recipe, kept_recipe(factor))
    opening = before_and_after(studio, lora, kept)
    sections = [
        plain(studio, lora, scope.cell_pictures),
        clothes(studio, lora, scope.cell_pictures, judged=("maid",)),
        strength(studio, lora, upto(scope.scene_seeds)),
        blocks(studio, lora, upto(scope.scene_seeds)),
        cure(studio, lora, kept, scope.backgrounds),
    ]
    return _write(studio, "Five pictures, one LoRA", recipe, sections, opening, NOW_YOURS)


def reproduce(studio: Studio, scope: Scope = WHOLE) -> Path:
    """Measure every claim and write the report; its path.

    The report is written anew after each claim, so there is one to read from the first on.
    """
    recipe = Recipe("recipe-seed-1")
    lora, kept = train_recipe(studio, recipe, kept_recipe(recipe.factor))
    opening = before_and_after(studio, lora, kept)
    trainings, comparison = upto(scope.trainings), scope.comparison_pictures
    measures: list[Callable[[], Section]] = [
        lambda: plain(studio, lora, scope.cell_pictures),
        lambda: clothes(studio, lora, scope.cell_pictures),
        lambda: strength(studio, lora, upto(scope.scene_seeds)),
        lambda: blocks(studio, lora, upto(scope.scene_seeds)),
        lambda: block_by_block(studio, lora, upto(scope.scene_seeds)),
        lambda: learning_rate(studio, upto(1), comparison),
        lambda: alpha(studio, trainings, comparison),
        lambda: neighbours(studio, trainings, comparison),
        lambda: cure(studio, lora, kept, scope.backgrounds),
    ]
    sections: list[Section] = []
    for measure in measures:
        sections.append(measure())
        title = "The recipe for few pictures, measured"
        path = _write(studio, title, recipe, sections, opening)
    return path


def kept_recipe(factor: float) -> Recipe:
    """The recipe that keeps backgrounds, on pictures in which she stands in many places."""
    options = BUILT_IN[BACKGROUNDS_KEPT].options
    return Recipe("backgrounds-kept-seed-1", options, factor=factor, scenes=PLACES)


def train_recipe(studio: Studio, *recipes: Recipe) -> list[Path]:
    """LoRAs of recipes, the first one's also put beside the report."""
    trained = studio.train(recipes, "training the LoRAs")
    lora = studio.folder / f"{LORA}.safetensors"
    if file_hash(lora) != file_hash(trained[0]):
        copy_whole(trained[0], lora)
    return trained


def _write(
    studio: Studio,
    title: str,
    recipe: Recipe,
    sections: Sequence[Section],
    opening: Pictures,
    ending: Sequence[tuple[str, str]] = (),
) -> Path:
    options = studio.options(recipe)
    training = sorted((studio.training_pictures() / f"1_{LORA}").glob("*.png"))
    pictures = Section(
        key="pictures",
        title="What it learned from",
        claim="",
        items=[
            Pictures([sorted(FIVE.glob("*.png"))], "The five pictures of the character."),
            Pictures(
                [training[:10], training[10:]],
                "The twenty made of them: whole, enlarged crops, mirrored.",
                command=train_command(options),
            ),
        ],
    )
    report = Report(
        title=title,
        lead=_lead(studio, recipe),
        opening=opening,
        facts=[
            ("Base model", f"{studio.model.name}, {file_hash(studio.model)[:10]}"),
            (
                "Training",
                f"{options.max_train_steps} steps of {options.train_batch_size}, "
                f"{options.optimizer_type}, dim {options.network_dim}, alpha "
                f"{options.network_alpha:g}, rates {options.unet_lr:g} and "
                f"{options.text_encoder_lr:g}",
            ),
            (
                "Drawing",
                f"{studio.look.sampler}, {studio.look.steps} steps, CFG "
                f"{studio.look.cfg_scale:g}, {studio.look.size[0]}x{studio.look.size[1]}",
            ),
            (
                "Made with",
                f"Rimo {__version__}, torch {torch.__version__}, Python "
                f"{platform.python_version()}, {platform.machine()}",
            ),
        ],
        files=[("The LoRA", studio.folder / f"{LORA}.safetensors")],
        sections=[pictures, *sections],
        ending=ending,
    )
    path = studio.folder / "report.html"
    write_report(report, path)
    return path


def _lead(studio: Studio, recipe: Recipe) -> list[str]:
    lines = [
        "Above: the same prompts without a LoRA, with one trained by the recipe for few pictures, "
        "and with one whose pictures were put into places that the base model drew. Every picture "
        "below tells its command.",
        "A small diffusion model in Stable Diffusion's shape, trained on drawings of an invented "
        "world, has never seen rimochan. From five pictures of her, all on plain backgrounds, a "
        "LoRA is trained and tried: does it draw her, does it still do what prompts ask for, and "
        "what can block weights mend?",
        "A judge, a small classifier trained on the world's drawings, says what each picture "
        "shows: outfit, pose, place, how much of rimochan is in it (identity, 0 to 1) and how "
        "detailed the background is (0 to 1). Whether a claim holds is computed from these "
        "numbers by the criteria under it, with 95 % ranges. It holds for this model and this "
        "world; larger models may differ.",
    ]
    if recipe.factor != 1:
        lines.append(
            f"One thing differs from the recipe for Stable Diffusion: both learning rates are "
            f"{recipe.factor:g} times as high. This model's layers are a fifth to a tenth as wide, "
            "and the same change of each weight moves a narrow layer's output less."
        )
    return lines
