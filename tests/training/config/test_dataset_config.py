import pytest

from lib_rimo.errors import UserError
from lib_rimo.lora.files import read_lora
from lib_rimo.training.config.dataset_config import read_dataset_config
from lib_rimo.training.config.job_file import from_mapping
from lib_rimo.training.jobs.job import run_job

KOHYA = """
[general]
shuffle_caption = true
keep_tokens = 1

[[datasets]]
resolution = 64
batch_size = 1
enable_bucket = true

  [[datasets.subsets]]
  image_dir = "{pictures}"
  num_repeats = 3
  class_tokens = "rimochan girl"
  flip_aug = true

  [[datasets.subsets]]
  image_dir = "{pictures}"
  is_reg = true
  class_tokens = "girl"
"""


@pytest.fixture
def config(pictures, tmp_path):
    path = tmp_path / "dataset.toml"
    path.write_text(KOHYA.format(pictures=pictures.as_posix()))
    return path


def test_folders_and_options_are_taken(config, pictures):
    found = read_dataset_config(config)
    training, regularisation = found.subsets
    assert (training.image_dir, training.num_repeats, training.class_tokens) == (
        pictures,
        3,
        "rimochan girl",
    )
    assert regularisation.is_reg
    assert found.options == {
        "shuffle_caption": True,
        "keep_tokens": 1,
        "resolution": 64,
        "train_batch_size": 1,
        "enable_bucket": True,
        "flip_aug": True,
    }
    assert found.warnings == [
        "flip_aug differs between the datasets (True, None): True is used for all."
    ]


def test_it_trains_as_it_is(config, narrow_sd1, tmp_path):
    options, warnings = from_mapping(
        {
            "pretrained_model_name_or_path": str(narrow_sd1),
            "dataset_config": str(config),
            "output_dir": str(tmp_path / "out"),
            "max_train_steps": 1,
            "min_bucket_reso": 64,
        }
    )
    assert options.shuffle_caption
    assert len(warnings) == 1
    metadata = read_lora(run_job(options, warnings=warnings)).metadata
    assert metadata["ss_num_train_images"] == "15"
    assert metadata["ss_num_reg_images"] == "15"
    assert metadata["ss_batch_size_per_device"] == "1"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[general]", "names no folders"),
        ("[[datasets]]\n[[datasets.subsets]]\nmetadata_file = 'x'", "without image_dir"),
        ("[[datasets", "dataset.toml is not valid"),
        ("datasets = 1", r"write datasets as sections"),
        ("[[datasets]]\nsubsets = ['pictures']", "write subsets as sections"),
        ("general = 1\n[[datasets]]\n[[datasets.subsets]]\nimage_dir = 'x'", "as a section"),
        ("[[datasets]]\n[[datasets.subsets]]\nimage_dir = 'x'\nnum_repeats = 'a'", "whole number"),
    ],
)
def test_what_is_wrong_is_said(text, sentence, tmp_path):
    path = tmp_path / "dataset.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=sentence):
        read_dataset_config(path)
