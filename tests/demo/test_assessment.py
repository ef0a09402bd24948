"""An assessment counts what the judge sees in the prompts that each value is about."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from lib_rimo.demo.assessment import FEATURES, Assessment, across, assess
from lib_rimo.demo.prompts import OUTFIT_WORDS, PLACE_WORDS, POSES
from lib_rimo.demo.studio import Seen, Shot

LORA = Path("rimochan.safetensors")


class Imagined:
    """Sees what the prompt asks for; where that is nothing, a LoRA makes a plain background."""

    def __init__(self) -> None:
        self.shots: list[Shot] = []

    def see(self, shots: Sequence[Shot], description: str = "") -> list[Seen]:
        self.shots += shots
        return [self._see(shot) for shot in shots]

    def _see(self, shot: Shot) -> Seen:
        places = [place for place, words in PLACE_WORDS.items() if f", {words}," in shot.prompt]
        outfit = next((o for o, words in OUTFIT_WORDS.items() if words in shot.prompt), "")
        hers = shot.lora is not None
        known = 1.0 if outfit in ("", "kimono") else 0.5
        return Seen(
            outfit=outfit,
            pose=next(pose for pose in POSES if pose in shot.prompt),
            place=max(places, key=lambda place: len(PLACE_WORDS[place]), default="beach"),
            identity=known * hers,
            detail=0.4,
            plain=hers and not places,
            tips=float(hers),
            cloth_colour="yellow",
        )


@pytest.mark.parametrize("trigger", [False, True])
def test_each_value_is_of_its_own_prompts(trigger: bool):
    studio = Imagined()
    found = assess(studio, LORA, 2, trigger=trigger)
    assert all(shot.prompt.startswith("rimochan, ") == trigger for shot in studio.shots)
    assert found.place.value == found.pose.value == found.outfit.value == 1
    assert (found.plain_share.value, found.school_plain_share.value) == (1, 0)
    assert (found.identity.value, found.identity_in_unseen_clothes.value) == (1, 0.5)
    assert found.features["tips"].value == 1
    assert found.features["eyes"].value == 0
    assert set(json.loads(found.as_json())["features"]) == set(FEATURES)


def test_the_base_alone_has_no_tag():
    studio = Imagined()
    found = assess(studio, None, 1)
    assert found.plain_share.value == found.identity.value == 0
    assert not any("<lora" in shot.prompt for shot in studio.shots)


def test_across_trainings(monkeypatch: pytest.MonkeyPatch):
    both: list[Assessment] = [assess(Imagined(), lora, 1) for lora in (LORA, None)]
    assert across(both, "identity").value == 0.5
    assert across(both, "identity").count == 2


def test_every_picture_has_a_noise_of_its_own_that_is_the_same_with_every_lora():
    studios = Imagined(), Imagined()
    for studio, lora in zip(studios, (LORA, None), strict=True):
        assess(studio, lora, 2)
    nowhere, also = (
        [shot.seed for shot in studio.shots if "doors" not in shot.prompt] for studio in studios
    )
    assert nowhere == also
    assert len(set(nowhere)) == len(nowhere) == 2 * 3 * 9
