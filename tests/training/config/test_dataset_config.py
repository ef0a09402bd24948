import pytest

from lib_rimo.errors import UserError
from lib_rimo.lora.files import read_lora
from lib_rimo.training.config.dataset_config import read_dataset_config
from lib_rimo.training.config.job_file import from_mapping
from lib_rimo.training.config.options import TrainingOptions
from lib_rimo.training.data.dataset import TrainingSet
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
    }
    assert (training.own, regularisation.own) == ({"flip_aug": True}, {})
    assert [*map(str, found.messages)] == []


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
    assert warnings == []
    metadata = read_lora(run_job(options)).metadata
    assert metadata["ss_num_train_images"] == "15"
    assert metadata["ss_num_reg_images"] == "15"
    assert metadata["ss_batch_size_per_device"] == "1"


def test_its_values_win_and_that_is_said(config):
    given = {"dataset_config": str(config), "train_batch_size": 8, "keep_tokens": "1"}
    options, warnings = from_mapping({**given, "resolution": "256,256"})
    assert (options.train_batch_size, options.keep_tokens, options.resolution) == (1, 1, "64")
    assert [*map(str, warnings)] == [
        "dataset.toml says otherwise, and counts: "
        "resolution 64 (instead of 256,256), train_batch_size 1 (instead of 8)."
    ]


LEVELS = """
[general]
num_repeats = 2
class_tokens = "girl"
[[datasets]]
resolution = 64
num_repeats = 3
  [[datasets.subsets]]
  image_dir = "a"
  [[datasets.subsets]]
  image_dir = "b"
  num_repeats = 4
  keep_tokens = 1
[[datasets]]
resolution = 128
batch_size = 2
  [[datasets.subsets]]
  image_dir = "c"
"""


def test_the_nearest_level_counts(tmp_path):
    path = tmp_path / "dataset.toml"
    path.write_text(LEVELS)
    found = read_dataset_config(path)
    assert [subset.num_repeats for subset in found.subsets] == [3, 4, 2]
    assert {subset.class_tokens for subset in found.subsets} == {"girl"}
    assert [dict(subset.own) for subset in found.subsets] == [
        {"resolution": 64},
        {"keep_tokens": 1, "resolution": 64},
        {"resolution": 128},
    ]
    assert found.options == {"train_batch_size": 2}
    assert [*map(str, found.messages)] == [
        "train_batch_size differs between the datasets (None, None, 2): 2 is used for all."
    ]


OWN = """
[[datasets]]
  [[datasets.subsets]]
  image_dir = "{pictures}"
  resolution = 64
  caption_prefix = "first,"
  flip_aug = true
  [[datasets.subsets]]
  image_dir = "{pictures}"
  resolution = 128
  caption_dropout_rate = 1.0
"""


def test_a_folder_keeps_its_own_options(pictures, tmp_path):
    (tmp_path / "copy").symlink_to(pictures)
    text = OWN.format(pictures=pictures.as_posix())
    head, _, tail = text.rpartition(pictures.as_posix())
    path = tmp_path / "dataset.toml"
    path.write_text(f"{head}{(tmp_path / 'copy').as_posix()}{tail}")
    data = TrainingSet.from_options(TrainingOptions(dataset_config=str(path), resolution="64"))
    first, second = (
        [entry for entry in data.entries if entry.folder.own.get("resolution") == side]
        for side in (64, 128)
    )
    assert len(first) == len(second) > 0
    assert all(entry.caption.startswith("first, ") for entry in first)
    assert not any(entry.caption.startswith("first, ") for entry in second)
    areas = [max(e.fit.bucket[0] * e.fit.bucket[1] for e in part) for part in (first, second)]
    assert areas[0] <= 64 * 64 < areas[1]
    data.encode_with(lambda pixels: (pixels[:, :1, ::8, ::8], pixels[:, :1, ::8, ::8]))
    by_folder = {pictures: set(), tmp_path / "copy": set()}
    for step in range(data.steps_per_epoch()):
        batch = data.batch(step)
        for picture, caption in zip(batch.pictures, batch.captions, strict=True):
            by_folder[picture.parent].add(caption)
    assert by_folder[tmp_path / "copy"] == {""}
    assert "" not in by_folder[pictures]
    assert not data.is_encoded  # the first folder's pictures are mirrored too


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[general]", "names no folders"),
        ("[[datasets]]\n[[datasets.subsets]]\nmetadata_file = 'x'", "metadata_file x"),
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
