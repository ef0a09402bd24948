"""A narrow base model and a folder of small pictures, as a training finds them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib_rimo.training.config.options import TrainingOptions
from tests.sd.narrow import write_narrow_checkpoint


@pytest.fixture(scope="session")
def narrow_sd1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "narrow.safetensors"
    write_narrow_checkpoint(path, "sd1")
    return path


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number in range(5):
        squares = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(squares).resize((64, 64), 0).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"rimochan, 1girl, {['red', 'blue'][number % 2]}")
    return folder


@pytest.fixture(scope="session")
def small_training(narrow_sd1: Path, pictures: Path) -> Callable[[Path], TrainingOptions]:
    """Options of a training into a folder: six steps that take a second or two."""

    def into(folder: Path) -> TrainingOptions:
        return TrainingOptions(
            pretrained_model_name_or_path=str(narrow_sd1),
            train_data_dir=str(pictures),
            output_dir=str(folder),
            output_name="small",
            resolution="64",
            min_bucket_reso=64,
            max_train_steps=6,
            network_dim=4,
            unet_lr=1e-3,
            text_encoder_lr=1e-3,
            save_precision="float",
            device="cpu",
        )

    return into


@pytest.fixture
def options(small_training: Callable[[Path], TrainingOptions], tmp_path: Path) -> TrainingOptions:
    return small_training(tmp_path)
