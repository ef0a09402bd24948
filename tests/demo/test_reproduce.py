import re
from pathlib import Path
from typing import Any

import pytest

from lib_rimo.commands import demo as demo_verb
from lib_rimo.demo import reproduce as module
from lib_rimo.demo import studio as studio_module
from lib_rimo.demo.claims import blocks, strength
from lib_rimo.demo.recipe import Recipe
from lib_rimo.demo.reproduce import Scope, demo
from lib_rimo.demo.studio import Studio
from lib_rimo.errors import UserError
from lib_rimo.sd import embedded
from lib_rimo.training.config.options import TrainingOptions


@pytest.mark.slow
def test_demo_ends_with_a_report_and_starts_at_once_again(
    studio: Studio, five: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_options = Recipe.options

    def few_steps(recipe: Recipe, *places: Path) -> TrainingOptions:
        options = whole_options(recipe, *places)
        options.max_train_steps, options.network_dim, options.resolution = 2, 2, "64,64"
        return options

    monkeypatch.setattr(Recipe, "options", few_steps)
    monkeypatch.setattr(module, "FIVE", five)
    for place in (strength, blocks):
        monkeypatch.setattr(place, "STRENGTHS", (0.1, 1.0))
    scope = Scope(cell_pictures=1, scene_seeds=2, backgrounds=1)
    report = demo(studio, scope)
    page = report.read_text(encoding="utf-8")
    pictures = set(re.findall(r'src="([^"]+)"', page))
    assert len(pictures) > 30
    for picture in pictures:
        assert (report.parent / picture).is_file(), picture
    assert (report.parent / "rimochan.safetensors").is_file()
    assert page.count("python -m lib_rimo") >= 5

    def nothing(*_: Any) -> None:
        raise AssertionError("made again")

    for work in ("draw_batch", "train_one", "augment"):
        monkeypatch.setattr(studio_module, work, nothing)
    assert demo(studio, scope).read_text(encoding="utf-8") == page


def test_missing_model_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(embedded.MODELS, "sd1", tmp_path / "gone.safetensors")
    with pytest.raises(UserError, match=r"base model .*gone\.safetensors is missing"):
        module.open_studio(tmp_path)


def test_verb_passes_its_options_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import argparse

    given: dict[str, Any] = {}

    def open_studio(folder: Path, *, processes: int | None) -> Any:
        given.update(folder=folder, processes=processes)
        return "studio"

    def fake_demo(studio: Any, *, factor: float) -> Path:
        given.update(studio=studio, factor=factor)
        return Path("report.html")

    monkeypatch.setattr(module, "open_studio", open_studio)
    monkeypatch.setattr(module, "demo", fake_demo)
    parser = argparse.ArgumentParser()
    demo_verb.add_arguments(parser)
    assert demo_verb.run(parser.parse_args(["--out", "here", "--rates", "1"])) == 0
    assert given == {"folder": Path("here"), "processes": None, "studio": "studio", "factor": 1}
    assert capsys.readouterr().out == "report.html\n"
