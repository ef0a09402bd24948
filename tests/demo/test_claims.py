"""The claims against imagined worlds, where it is known what holds."""

import argparse
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from lib_rimo.commands import xyz
from lib_rimo.demo.claims.alpha import ALPHAS, alpha
from lib_rimo.demo.claims.blocks import LAYOUT, block_by_block, blocks
from lib_rimo.demo.claims.clothes import clothes
from lib_rimo.demo.claims.cure import COLUMNS, cure, opening
from lib_rimo.demo.claims.learning_rate import learning_rate
from lib_rimo.demo.claims.neighbours import neighbours, schedule_rates
from lib_rimo.demo.claims.plain import plain
from lib_rimo.demo.claims.strength import strength
from lib_rimo.demo.measures import Answer
from lib_rimo.demo.prompts import OUTFIT_WORDS, PLACE_WORDS, POSES
from lib_rimo.demo.recipe import Recipe
from lib_rimo.demo.report import Chart, Pictures, Section
from lib_rimo.demo.studio import Look, Seen, Shot
from lib_rimo.inference.console import read_presets, read_settings
from lib_rimo.inference.grid import cells
from lib_rimo.training.config.options import TrainingOptions
from lib_rimo.weights.tags import LoraTag, parse_prompt

LORA = Path("loras/rimochan.safetensors")
CARRIER = "IN08"  # of the background in the imagined model

See = Callable[[Shot, LoraTag | None], tuple[bool, float, float]]
"""(whether the prompt is followed, identity, detail) of a picture."""


class ImaginedStudio:
    """Sees what a rule says; nothing is trained or drawn."""

    def __init__(self, rule: See) -> None:
        self.rule = rule
        self.look = Look()
        self.model = Path("imagined.safetensors")
        self.shots: list[Shot] = []

    def see(self, shots: Sequence[Shot], description: str = "") -> list[Seen]:
        self.shots += shots
        return [self._see(shot) for shot in shots]

    def _see(self, shot: Shot) -> Seen:
        _, tags, problems = parse_prompt(shot.prompt)
        assert not problems
        assert (shot.lora is not None) == bool(tags)
        follows, identity, detail = self.rule(shot, tags[0] if tags else None)
        noise = (shot.seed * 37 % 11 - 5) / 500
        places = [place for place, words in PLACE_WORDS.items() if f", {words}," in shot.prompt]
        asked_place = max(places, key=lambda place: len(PLACE_WORDS[place]), default="plain")
        outfits = [outfit for outfit, words in OUTFIT_WORDS.items() if words in shot.prompt]
        pose = next(pose for pose in POSES if pose in shot.prompt)
        return Seen(
            outfit=outfits[0] if outfits and follows else "dress",
            pose=pose if follows else "lying",
            place=asked_place if follows else "plain",
            identity=identity + noise,
            detail=detail + noise,
            plain=detail < 0.2,
        )

    def draw(self, shots: Sequence[Shot], description: str = "") -> list[Path]:
        return [self.picture_file(shot) for shot in shots]

    def picture_file(self, shot: Shot) -> Path:
        return Path(f"{shot.prompt} {shot.seed}.png")

    def train(self, recipes: Sequence[Recipe]) -> list[Path]:
        return [Path(f"loras/{recipe.name}/rimochan.safetensors") for recipe in recipes]

    def options(self, recipe: Recipe) -> TrainingOptions:
        return recipe.options(self.model, Path("pictures"), Path("loras") / recipe.name)


def good(shot: Shot, tag: LoraTag | None) -> tuple[bool, float, float]:
    """As the author says: identity in all blocks alike, background in one of them."""
    if tag is None:
        return True, 0.0, 0.8
    factors = {block: tag.blocks.of(block) if tag.blocks else 1.0 for block in LAYOUT}
    identity = tag.unet * sum(factors.values()) / len(LAYOUT)
    return True, 0.9 * identity, 0.8 - 0.6 * tag.unet * factors[CARRIER]


def overfitted(shot: Shot, tag: LoraTag | None) -> tuple[bool, float, float]:
    """A LoRA that changes everything but draws nobody, and backgrounds that only grow."""
    if tag is None:
        return True, 0.3, 0.2
    return False, 0.3 - 0.2 * tag.unet, 0.2 + 0.5 * tag.unet


MEASURES = {
    "plain": lambda studio: plain(studio, LORA, 4),
    "clothes": lambda studio: clothes(studio, LORA, 2),
    "strength": lambda studio: strength(studio, LORA, range(1, 9)),
    "blocks": lambda studio: blocks(studio, LORA, range(1, 9)),
}


@pytest.mark.parametrize("name", MEASURES)
def test_holds_where_it_is_true(name: str) -> None:
    section = MEASURES[name](ImaginedStudio(good))
    assert section.answer is Answer.HOLDS, section.checks


@pytest.mark.parametrize("name", ["plain", "clothes", "strength"])
def test_says_so_where_it_is_not(name: str) -> None:
    section = MEASURES[name](ImaginedStudio(overfitted))
    assert section.answer is Answer.FAILS
    assert all(check.answer is Answer.FAILS for check in section.checks)


@pytest.mark.parametrize("name", ["plain", "clothes"])
def test_each_judged_picture_has_a_noise_of_its_own(name: str) -> None:
    """Else many pictures would be of few noises, and their 95 % range too narrow."""
    studio = ImaginedStudio(good)
    MEASURES[name](studio)
    with_lora, without = ([s.seed for s in studio.shots if bool(s.lora) == on] for on in (1, 0))
    assert with_lora == without == [*range(1, len(with_lora) + 1)]


def test_finds_the_block_that_carries_the_background() -> None:
    studio = ImaginedStudio(good)
    section = block_by_block(studio, LORA, range(1, 17))
    table = section.items[1]
    assert [table.rows[row][0] for row in table.marked] == [CARRIER]
    assert table.rows[LAYOUT.index(CARRIER)][1].startswith("+0.60")
    best = next(row[0] for row in section.items[2].rows if "best here" in row[0])
    values = best.split()[0].split(",")
    assert [block for block, value in zip(LAYOUT, values, strict=True) if value != "1"] == [CARRIER]
    assert section.answer is Answer.HOLDS


@pytest.mark.parametrize(("steepness", "answer"), [(0.3, Answer.HOLDS), (-0.3, Answer.FAILS)])
def test_alpha_is_judged_over_trainings(steepness: float, answer: Answer) -> None:
    def rule(shot: Shot, tag: LoraTag | None) -> tuple[bool, float, float]:
        name = shot.lora.parent.name if shot.lora else ""
        value = int(name.split("-")[1]) if name.startswith("alpha") else 2
        follows = (value > 3) != (steepness > 0) or shot.seed == 2
        return follows, 0.5, 0.5

    section = alpha(ImaginedStudio(rule), range(1, 4), 2)
    assert section.answer is answer
    assert len(section.items[1].rows) == len(ALPHAS)


def test_neighbours_say_which_is_better() -> None:
    def rule(shot: Shot, tag: LoraTag | None) -> tuple[bool, float, float]:
        name = shot.lora.parent.name if shot.lora else ""
        return True, 0.9 if name.startswith("dim-32") else 0.6, 0.5

    section = neighbours(ImaginedStudio(rule), range(1, 4), 1)
    answers = {check.criterion: check.answer for check in section.checks}
    better = [criterion for criterion, answer in answers.items() if answer is Answer.FAILS]
    assert len(better) == 1
    assert "dim 32" in better[0]


def test_one_cycle_is_cosine() -> None:
    one, other = schedule_rates("cosine", 50), schedule_rates("cosine_with_restarts", 50)
    assert one == pytest.approx(other, abs=1e-12)
    assert one[0] > one[25] > one[-1]


def test_learning_rate_has_no_claim_to_judge() -> None:
    section = learning_rate(ImaginedStudio(good), range(1, 2), 1)
    assert section.answer is None


@pytest.mark.parametrize("name", MEASURES)
def test_commands_draw_these_pictures(name: str) -> None:
    """What stands under a figure, given to the command line, asks for the pictures above it."""
    studio = ImaginedStudio(good)
    section = MEASURES[name](studio)
    drawn = {(studio.look.settings(s.prompt, s.seed)) for s in studio.shots if s.lora}
    commands = [
        item.command
        for item in section.items
        if isinstance(item, (Pictures, Chart)) and "LoRA strength: 1, 0" not in item.command
    ]
    assert commands
    for command in commands:
        words = shlex.split(command.replace("\\\n", " "))
        assert words[:4] == ["python", "-m", "lib_rimo", "xyz"]
        parser = argparse.ArgumentParser()
        xyz.add_arguments(parser)
        arguments = parser.parse_args(words[4:])
        settings, fields = read_settings(arguments)
        presets = read_presets(arguments)
        axes = xyz._axes(arguments, fields, presets)
        asked = {
            (
                _normal(cell.prompt),
                cell.seed,
                cell.steps,
                cell.width,
                cell.sampler.split(" Karras")[0],
            )
            for cell in cells(settings, axes, presets)
        }
        ours = {(_normal(one.prompt), one.seed, one.steps, one.width, one.sampler) for one in drawn}
        assert asked <= ours | _strips(section), asked - ours


def _normal(prompt: str) -> str:
    """The prompt's text and what its tags mean."""
    text, tags, _ = parse_prompt(prompt)
    meaning = [(t.name, t.te, t.unet, str(t.blocks or "") if not _is_ones(t) else "") for t in tags]
    return f"{text.split()} {meaning}"


def _is_ones(tag: LoraTag) -> bool:
    return tag.blocks is not None and all(tag.blocks.of(block) == 1 for block in LAYOUT)


def _strips(section: Section) -> set[tuple[str, int, int, int, str]]:
    """Pictures that are shown but not judged."""
    look = Look()
    shown = set()
    for item in section.items:
        if isinstance(item, Pictures):
            for file in (file for row in item.rows for file in row):
                prompt, _, seed = str(file).removesuffix(".png").rpartition(" ")
                one = look.settings(prompt, int(seed))
                shown.add((_normal(one.prompt), one.seed, one.steps, one.width, one.sampler))
    return shown


def kept_or_not(shot: Shot, tag: LoraTag | None) -> tuple[bool, float, float]:
    """The recipe's LoRA draws plain grounds, the cured one does not."""
    if tag is None:
        return True, 0.0, 0.6
    return True, 0.7, 0.6 if "kept" in str(shot.lora) else 0.1


@pytest.mark.parametrize(
    ("recipe", "kept", "answer"),
    [("recipe", "kept", Answer.HOLDS), ("recipe", "recipe", Answer.FAILS)],
)
def test_a_cure_is_one_where_backgrounds_come_back_and_the_character_stays(
    recipe: str, kept: str, answer: Answer
) -> None:
    studio = ImaginedStudio(kept_or_not)
    files = [Path(f"{name}/rimochan.safetensors") for name in (recipe, kept)]
    section = cure(studio, *files, 3)  # type: ignore[arg-type]
    assert section.answer is answer
    seeds = [shot.seed for shot in studio.shots]
    assert seeds == [*range(1, 28)] * 3  # a noise for each picture, the same with each LoRA
    shown = opening(studio, *files)  # type: ignore[arg-type]
    assert shown.column_labels == COLUMNS
    assert [len(row) for row in shown.rows] == [3] * 4
    assert all("school" in str(file) for file in shown.rows[3])
