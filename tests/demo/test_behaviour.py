"""What a trained LoRA really does to the base model's pictures, as the judge sees them.

`rimochan.safetensors` is the LoRA that `python -m lib_rimo demo` made of the five pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import pytest
from PIL import Image

from lib_rimo.demo.claims.strength import school
from lib_rimo.demo.prompts import tag
from lib_rimo.demo.reproduce import FIVE, WorldJudge
from lib_rimo.demo.studio import Look, Seen, Shot, Studio
from lib_rimo.lora.blocks import block_of_key
from lib_rimo.lora.files import read_lora, write_lora
from lib_rimo.sd import embedded

LORA = Path(__file__).with_name("rimochan.safetensors")
SEEDS = range(1, 5)


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    folder = tmp_path_factory.mktemp("behaviour")
    made = Studio(folder, embedded.MODEL, FIVE, WorldJudge(), Look(steps=8), processes=1)
    yield made
    made.close()


def seen(studio: Studio, text: str) -> list[Seen]:
    return studio.see([school(seed, LORA, text) for seed in SEEDS])


def pixels(studio: Studio, lora: Path | None, text: str) -> bytes:
    (file,) = studio.draw([school(1, lora, text)])
    with Image.open(file) as image:
        return image.tobytes()


def test_strength_0_is_no_lora(studio: Studio):
    assert pixels(studio, LORA, tag(0)) == pixels(studio, None, "")
    assert pixels(studio, LORA, tag(1)) != pixels(studio, None, "")


def test_identity_grows_with_strength(studio: Studio):
    none, half, whole = (
        fmean(one.identity for one in seen(studio, tag(strength))) for strength in (0, 0.5, 1)
    )
    assert none < half < whole
    assert whole - none > 0.25  # 0.06 and 0.40 with this LoRA


@pytest.mark.parametrize("block", ["BASE", "IN08", "OUT05"])
def test_a_block_at_0_is_a_file_without_it(studio: Studio, tmp_path: Path, block: str):
    whole = read_lora(LORA)
    others = {
        name: tensor
        for name, tensor in whole.tensors.items()
        if block_of_key(name.partition(".")[0], "sd1") != block
    }
    assert 0 < len(others) < len(whole.tensors)
    without = tmp_path / "rimochan.safetensors"
    write_lora(without, others, whole.metadata)
    assert pixels(studio, LORA, tag(1, f"{block}@0")) == pixels(studio, without, tag(1))
    assert pixels(studio, LORA, tag(1, f"{block}@0")) != pixels(studio, LORA, tag(1))


def test_prompts_are_still_followed_without_the_lora(studio: Studio):
    shots = [Shot(f"1girl, solo, standing, {place}", 3) for place in ("outdoors, beach", "night")]
    assert [one.place for one in studio.see(shots)] == ["beach", "night"]
