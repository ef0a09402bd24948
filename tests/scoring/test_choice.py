"""Choosing among saved steps: resumes without drawing again, and finds what a scorer likes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from PIL import Image

from lib_rimo.errors import UserError
from lib_rimo.scoring.choice import (
    choose,
    pictures_needed,
    reason_of,
    saved_files,
    states_of,
    usual_of,
)
from lib_rimo.scoring.finding import table
from lib_rimo.scoring.scorer import Score
from lib_rimo.scoring.trials import State, Trials


class Painter:
    """Draws the strength as brightness, and counts."""

    def __init__(self) -> None:
        self.drawn = 0
        self.seeds: dict[str, set[int]] = {}

    def identity(self) -> str:
        return "painter"

    def draw(self, prompt: str, seeds: Sequence[int]) -> list[Image.Image]:
        self.drawn += len(seeds)
        self.seeds.setdefault(prompt, set()).update(seeds)
        strength = float(prompt.rpartition(":")[2][:-1]) if "<lora:" in prompt else 0
        return [Image.new("RGB", (4, 4), (round(100 * strength),) * 3) for _ in seeds]


class LikesMiddle:
    """Likes a brightness of 60 best, of 160 not at all or still a little."""

    def __init__(self, reach: int = 100) -> None:
        self._reach = reach
        self.identity = f"middle {reach}"

    def know_base(self, pictures: Mapping[str, Sequence[Image.Image]]) -> None:
        assert all(drawn[0].getpixel((0, 0)) == (0, 0, 0) for drawn in pictures.values())

    def score(self, prompt: str, number: int, picture: Image.Image) -> Score:
        return Score(fit=1 - abs(picture.getpixel((0, 0))[0] - 60) / self._reach, keeping=1)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    for stem in ("rimo", "rimo-step00000200", "rimo-000002", "rimochan", "rimo-two"):
        (tmp_path / f"{stem}.safetensors").write_bytes(stem.encode())
    return saved_files(tmp_path, "rimo")


def test_finds_a_trainings_own_files(files: list[Path]):
    assert [file.stem for file in files] == ["rimo-000002", "rimo-step00000200", "rimo"]


def test_says_what_to_name(tmp_path: Path):
    with pytest.raises(UserError, match="name one without its ending"):
        saved_files(tmp_path, "rimo")


def test_a_second_run_draws_nothing_again(files: list[Path], tmp_path: Path):
    states = states_of(files, [0.2, 0.6, 1.0])
    painter = Painter()

    def trials(looked_at: list[bool]) -> Trials:
        folder, likes = tmp_path / "out", LikesMiddle()
        return Trials(folder, painter, likes, ["a", "b"], [1, 2, 3, 4], looked_at.append)

    looked_at: list[bool] = []
    first = trials(looked_at)
    results = choose(first, states)
    assert results[0].state.strength == 0.6
    assert len(results) == len(states)
    assert "serves best" in str(reason_of(results, states[-1]))
    assert painter.drawn == len(looked_at) <= pictures_needed(first, len(states))
    drawn = painter.drawn
    with (tmp_path / "out" / "scores.jsonl").open("a") as notes:
        notes.write('\n["cut sho')
    looked_at = []
    again = choose(trials(looked_at), states)
    assert painter.drawn == drawn
    assert not any(looked_at)
    assert [result.state for result in again] == [result.state for result in results]
    assert "<lora:rimo:0.6>" in table(again)


@pytest.mark.parametrize("strengths", [[0.6, 1.0], [0.2, 0.6, 1.0, 1.5]])
def test_what_hardly_gains_does_not_replace_the_last_step(
    files: list[Path], tmp_path: Path, strengths: list[float]
):
    states = states_of(files, strengths)
    looked_at: list[bool] = []
    trials = Trials(
        tmp_path / "out", Painter(), LikesMiddle(300), ["a", "b"], [1, 2, 3, 4], looked_at.append
    )
    results = choose(trials, states)
    assert (results[0].state.file.stem, results[0].state.strength) == ("rimo", 1.0)
    assert {result.state for result in results} == set(states)
    assert results[0].pictures == results[1].pictures == 8
    assert len(looked_at) <= pictures_needed(trials, len(states))
    said = str(reason_of(results, usual_of(states)))
    assert said.startswith("<lora:rimo:1> serves as well as any")
    assert f"What {results[1].state.tag} gains" in said


def test_prompts_do_not_share_their_noise_and_states_do(files: list[Path], tmp_path: Path):
    """With few seeds for all a score would be of what those few noises happen to show."""
    painter, prompts, seeds = Painter(), ["a", "b", "c"], [1, 2, 3, 4]
    trials = Trials(tmp_path / "out", painter, LikesMiddle(), prompts, seeds)
    for state in (State(files[0]), State(files[-1], 0.5)):
        trials.measure(state, len(seeds))
        of_prompts = [painter.seeds[f"{prompt} {state.tag}"] for prompt in prompts]
        assert len(set().union(*of_prompts)) == len(prompts) * len(seeds)
        assert of_prompts == [painter.seeds[prompt] for prompt in prompts]  # the base model's
        assert of_prompts == [set(trials.seeds_of(prompt)) for prompt in prompts]
