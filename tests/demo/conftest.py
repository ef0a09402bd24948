"""A studio with a narrow random model, tiny pictures and a judge that sees numbers in them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib_rimo.demo.studio import Look, Seen, Studio
from tests.sd.narrow import write_narrow_checkpoint

SIZE = (64, 64)


class CountingJudge:
    """Sees something in the pixels, the same in the same picture, and counts its looks."""

    name = "counting"

    def __init__(self) -> None:
        self.looked = 0

    def look(self, images: Sequence[Image.Image]) -> list[Seen]:
        self.looked += len(images)
        return [
            Seen("kimono", "sitting", "school", identity=float(pixels.mean()) / 255, detail=0.5)
            for pixels in map(np.asarray, images)
        ]


@pytest.fixture(scope="session")
def narrow_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "narrow.safetensors"
    write_narrow_checkpoint(path, "sd1")
    return path


@pytest.fixture(scope="session")
def five(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("five")
    rng = np.random.default_rng(0)
    for number in range(1, 6):
        squares = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(squares).resize((256, 256), 0).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text("rimochan, 1girl, kimono, simple background")
    return folder


@pytest.fixture
def studio(tmp_path: Path, narrow_model: Path, five: Path) -> Iterator[Studio]:
    look = Look(steps=2, negative_prompt="", size=SIZE)
    made = Studio(tmp_path / "out", narrow_model, five, CountingJudge(), look, processes=1)
    yield made
    made.close()
