"""Cures for plain backgrounds: judged on the way, compared at equal steps and equal identity."""

import dataclasses
from pathlib import Path

import pytest

from lib_rimo.demo import cures
from lib_rimo.demo.assessment import Assessment
from lib_rimo.demo.cures import CASES, CURES, RECIPE, State, at_identity, curves, states, table
from lib_rimo.demo.measures import mean
from lib_rimo.training.config.options import TrainingOptions
from lib_rimo.training.validation import check_values


def seen(identity, detail):
    values = {field.name: mean([0.5]) for field in dataclasses.fields(Assessment)}
    return Assessment(
        **{**values, "identity": mean([identity]), "detail": mean([detail]), "features": {}}
    )


def state(cure, steps, identity, detail):
    return State(cure, 1, steps, seen(identity, detail))


@pytest.mark.parametrize("cure", CURES)
@pytest.mark.parametrize("case", CASES)
def test_every_cure_can_be_trained_in_every_case(case, cure):
    check_values(TrainingOptions(**{**CASES[case].changes, **CURES[cure].changes}))


def test_values_are_read_where_an_identity_is_first_reached():
    path = [state("x", 500, 0.2, 0.4), state("x", 1000, 0.6, 0.2), state("x", 1500, 0.5, 0.1)]
    assert at_identity(path, 0.4, "detail") == pytest.approx(0.3)
    assert at_identity(path, 0.1, "detail") == 0.4
    assert at_identity(path, 0.7, "detail") is None


def test_the_table_and_the_curves_show_every_cure():
    found = [
        state(RECIPE, 500, 0.3, 0.2),
        state(RECIPE, 1000, 0.5, 0.1),
        state("T-LoRA", 500, 0.3, 0.4),
        state("T-LoRA", 1000, 0.7, 0.2),
        state("masked prior", 1000, 0.4, 0.5),
    ]
    rows = [line.strip("| ").split(" | ") for line in table(found, seen(0, 0.6)).splitlines()]
    ends = {row[0]: row[-1].strip() for row in rows}
    assert ends["T-LoRA"] == "0.30"
    assert ends["masked prior"] == "not reached"
    assert ends[RECIPE] == "0.10"
    drawn = curves(found, seen(0, 0.6))
    assert all(name in drawn for name in ("T-LoRA", "masked prior", "no LoRA"))


def test_a_cures_states_are_judged_under_their_own_names(monkeypatch, tmp_path):
    """The last file has the training's steps; a vector is put into the tag, of the same LoRA."""
    trained = []

    class Studio:
        def options(self, recipe):
            return TrainingOptions(**recipe.changes)

        def train(self, recipes):
            trained.append(recipes[0].name)
            for name in ("rimochan-step00000050", "rimochan"):
                (tmp_path / f"{name}.safetensors").touch()
            return [tmp_path / "rimochan.safetensors"]

    tags = []

    def assess(_studio, lora, _pictures, *, tag):
        tags.append((Path(lora).stem, tag))
        return seen(0.5, 0.5)

    monkeypatch.setattr(cures, "assess", assess)
    arguments = 1, 100, 50, 1
    for cure in (RECIPE, "best vector"):
        found = list(states(Studio(), CASES["plain five"], cure, *arguments))
        assert [one.steps for one in found] == [50, 100]
    assert len(set(trained)) == 1
    assert tags[1] == ("rimochan", "<lora:rimochan:1>")
    assert tags[2][0] == "rimochan-step00000050"
    vector = cures.CURES["best vector"].vector
    assert tags[2][1] == f"<lora:rimochan-step00000050:1:{vector}>"
