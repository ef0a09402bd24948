"""Few pictures on plain grounds: other backgrounds are proposed, with the reason."""

import pytest
from PIL import Image

from lib_rimo.demo.rimochan_pictures import FOLDER
from lib_rimo.training.augment.augmentation import augment
from lib_rimo.training.config.built_in import BACKGROUNDS_KEPT, BUILT_IN, FEW_PICTURES
from lib_rimo.training.config.options import TrainingOptions
from lib_rimo.training.proposal import MOST, propose_other_backgrounds
from lib_rimo.training.validation import find_disappointments


def test_the_bundled_pictures_are_plain():
    options = TrainingOptions(train_data_dir=str(FOLDER))
    proposal = propose_other_backgrounds(options)
    assert proposal in find_disappointments(options)
    assert proposal.text().startswith("5 of 5 uncropped pictures have a plain background")
    assert "augment --scenes" in proposal.text()
    assert f'"{BACKGROUNDS_KEPT}"' in proposal.text()
    assert TrainingOptions(**BUILT_IN[FEW_PICTURES].options) == TrainingOptions()


def draw(folder, plain, detailed):
    for number in range(plain + detailed):
        image = Image.effect_noise((96, 96), 120).convert("RGB")
        if number < plain:
            image.paste("pink", (0, 0, 96, 96))
            image.paste("navy", (30, 20, 60, 90))
        image.save(folder / f"{number}.png")


@pytest.mark.parametrize(
    ("plain", "detailed", "is_proposed"),
    [(3, 2, True), (2, 3, False), (0, 5, False), (MOST + 1, 0, False), (0, 0, False)],
)
def test_it_is_proposed_for_few_and_mostly_plain_pictures(tmp_path, plain, detailed, is_proposed):
    draw(tmp_path, plain, detailed)
    (tmp_path / "0-masklabel.png").write_bytes(b"no picture of the set")
    proposal = propose_other_backgrounds(TrainingOptions(train_data_dir=str(tmp_path)))
    assert (proposal is not None) == is_proposed


def test_crops_of_plain_pictures_hide_it_from_nobody(tmp_path):
    augment(FOLDER, tmp_path / "made", count=20, resolution="64,96")
    proposal = propose_other_backgrounds(TrainingOptions(train_data_dir=str(tmp_path / "made")))
    assert proposal.text().startswith("10 of 10 uncropped pictures have a plain background")


def test_what_cannot_be_looked_at_is_left_to_others(tmp_path):
    (tmp_path / "1.png").write_bytes(b"no picture")
    for folder in ("", str(tmp_path), str(tmp_path / "nowhere")):
        assert propose_other_backgrounds(TrainingOptions(train_data_dir=folder)) is None
