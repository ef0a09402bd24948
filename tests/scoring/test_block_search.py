"""The search for block weights, over a LoRA whose blocks do what the test says."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

from lib_rimo.errors import UserError
from lib_rimo.lora.blocks import LAYOUTS
from lib_rimo.scoring.block_search import FIT_THAT_STAYS, BlockSearch, Outcome, named_vectors
from lib_rimo.scoring.finding import Finding
from lib_rimo.scoring.scorer import Score
from lib_rimo.scoring.trials import State, Trials
from lib_rimo.scoring.unet_strip import draw_effects, rows_of
from lib_rimo.weights.presets import AUTHORS_VECTOR, DEFAULT_PRESETS, Presets

BLOCKS = LAYOUTS[17]
NO_PRESETS = Presets()


class Vectors:
    """Draws a vector as a row of pixels, black without the LoRA; and counts."""

    def __init__(self) -> None:
        self.drawn = 0

    def identity(self) -> str:
        return "vectors"

    def draw(self, prompt: str, seeds: Sequence[int]) -> list[Image.Image]:
        self.drawn += len(seeds)
        image = Image.new("L", (17, 1))
        if "<lora:" in prompt:
            text = prompt.rpartition("<")[2].removesuffix(">").split(":")[3:]
            values = [float(part) for part in text[0].split(",")] if text else [1.0] * 17
            image.putdata([round(200 * value) for value in values])
        return [image.convert("RGB") for _ in seeds]


class ByBlocks:
    """Each block brings its part of fit and costs its part of keeping."""

    identity = "by blocks"

    def __init__(self, brings: Mapping[str, float], costs: Mapping[str, float]) -> None:
        self.brings, self.costs = brings, costs

    def know_base(self, pictures: Mapping[str, Sequence[Image.Image]]) -> None:
        pass

    def score(self, prompt: str, number: int, picture: Image.Image) -> Score:
        pixels = [picture.getpixel((x, 0))[0] / 200 for x in range(17)]
        values = dict(zip(BLOCKS, pixels, strict=True))
        fit = sum(values[block] * part for block, part in self.brings.items())
        return Score(fit, 1 - sum(values[block] * part for block, part in self.costs.items()))


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    file = tmp_path / "rimo.safetensors"
    places = {f"down_blocks_{i}_attentions_{j}": 1 for i in range(3) for j in range(2)}
    places |= {f"up_blocks_{i}_attentions_{j}": 1 for i in (1, 2, 3) for j in range(3)}
    names = [f"lora_unet_{place}_proj_in" for place in (*places, "mid_block_attentions_0")]
    names.append("lora_te_text_model_encoder_layers_0_mlp_fc1")
    save_file(
        {f"{n}.lora_{p}.weight": torch.ones(1, 1) for n in names for p in ("up", "down")}, file
    )
    return file


Searching = Callable[..., tuple[BlockSearch, list[bool]]]


@pytest.fixture
def searching(lora: Path, tmp_path: Path) -> Searching:
    def search(
        brings: Mapping[str, float], costs: Mapping[str, float], presets: Presets = NO_PRESETS
    ) -> tuple[BlockSearch, list[bool]]:
        looked_at: list[bool] = []
        folder, scorer = tmp_path / "out", ByBlocks(brings, costs)
        trials = Trials(folder, Vectors(), scorer, ["a", "b"], [1, 2], looked_at.append)
        return BlockSearch(trials, State(lora), presets), looked_at

    return search


def test_turns_down_what_costs_keeping_and_brings_little(searching: Searching):
    brings = {"OUT04": 0.6, "OUT05": 0.3, "IN08": 0.05}
    search, looked_at = searching(brings, {"IN08": 0.4, "M00": 0.2, "OUT04": 0.1})
    outcome = search.run()
    weights = dict(zip(BLOCKS, map(float, outcome.best.state.blocks.split(",")), strict=True))
    assert weights["IN08"] == weights["M00"] == 0
    assert outcome.best.score.fit >= FIT_THAT_STAYS * outcome.full.score.fit
    assert outcome.best.score.keeping == pytest.approx(0.9, abs=0.05)
    assert outcome.tried[0].score.keeping >= outcome.tried[-1].score.keeping
    assert "Keeping goes from 0.30" in str(outcome.reason)
    assert len(looked_at) <= search.pictures_needed
    by_block = {effect.block: effect for effect in search.effects}
    assert by_block["OUT04"].fit_lost == pytest.approx(0.6 / 0.95, abs=0.01)
    assert by_block["IN08"].keeping_gained == pytest.approx(0.4, abs=0.01)


@given(st.lists(st.floats(0.01, 1), min_size=17, max_size=17), st.randoms())
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
def test_never_gives_away_more_than_a_tenth_of_the_fit(
    lora: Path, tmp_path_factory: pytest.TempPathFactory, parts: list[float], random
):
    brings = dict(zip(BLOCKS, parts, strict=True))
    random.shuffle(parts)
    costs = {block: part / 40 for block, part in zip(BLOCKS, parts, strict=True)}
    folder = tmp_path_factory.mktemp("search")
    trials = Trials(folder, Vectors(), ByBlocks(brings, costs), ["a"], [1, 2])
    outcome: Outcome = BlockSearch(trials, State(lora), DEFAULT_PRESETS).run()
    assert outcome.best.score.fit >= FIT_THAT_STAYS * outcome.full.score.fit - 1e-9
    assert outcome.best.score.keeping >= outcome.full.score.keeping


def test_says_where_nothing_is_better(searching: Searching):
    search, _ = searching({"OUT04": 1.0}, {"OUT04": 0.5})
    outcome = search.run()
    assert not outcome.is_better
    assert "best as it is" in str(outcome.reason)


def test_says_of_a_search_that_was_stopped_only_what_it_tried(searching: Searching):
    search, _ = searching({"OUT04": 1.0}, {"OUT04": 0.5})
    search.find_effects()
    assert str(search.outcome.reason).startswith("Of the block weights tried by then none keep")
    assert "best as it is" in str(search.run().reason)


def test_a_lora_that_changes_nothing_is_a_sentence(searching: Searching):
    search, _ = searching({}, {})
    with pytest.raises(UserError, match="no nearer to the training pictures"):
        search.run()


def test_a_file_without_blocks_is_a_sentence(tmp_path: Path, searching: Searching):
    file = tmp_path / "none.safetensors"
    save_file({"x": torch.ones(1)}, file)
    search, _ = searching({}, {})
    with pytest.raises(UserError, match="no blocks of a Stable Diffusion UNet"):
        BlockSearch(search._trials, State(file), NO_PRESETS)


def test_the_users_presets_and_the_authors_vector_take_part(searching: Searching):
    mine = ",".join(["0.3"] * 16 + ["1"])
    presets = Presets({**DEFAULT_PRESETS.blocks, "MINE": mine, "RANDOM": ",".join(["R"] * 17)})
    vectors = named_vectors(presets, 17)
    assert tuple(map(float, AUTHORS_VECTOR.split(","))) == vectors[0]
    assert tuple(map(float, mine.split(","))) == vectors[1]
    assert all(len(vector) == 17 and len(set(vector)) > 1 for vector in vectors)
    search, _ = searching({"OUT11": 1.0}, dict.fromkeys(BLOCKS[:-1], 0.05), presets)
    assert mine in {result.state.blocks for result in search.run().tried}


def test_is_told_whole(searching: Searching, tmp_path: Path):
    search, _ = searching({"OUT04": 1.0}, {"IN04": 0.5})
    outcome = search.run()
    finding = Finding(outcome.best.state, [outcome.reason], outcome.tried, search.effects)
    picture = Image.new("RGB", (32, 48))
    pictures = {effect.block: picture for effect in search.effects}
    strip = draw_effects([("without", picture), ("with", picture)], search.effects, pictures, 12)
    assert strip.width < strip.height
    finding.add_strip("effects", strip, tmp_path)
    told = json.loads(finding.write(tmp_path).read_text())
    assert told["tag"] == outcome.best.state.tag
    assert (tmp_path / told["strips"]["effects"]).exists()
    assert len(told["effects"]) == 17
    assert "IN04" in finding.text()


def test_stands_as_the_unet_does():
    rows = rows_of(BLOCKS, 12)
    assert rows[0] == ("BASE",)
    assert rows[-1] == ("M00",)
    assert ("IN01", "OUT10") in rows
    assert (None, "OUT08") in rows
    assert {block for row in rows for block in row if block} == set(BLOCKS)
