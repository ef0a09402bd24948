import contextlib
import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_rimo.__main__ import main
from lib_rimo.errors import UserError
from lib_rimo.training.config.dialects.kohya import _TRANSLATIONS
from lib_rimo.training.config.dialects.kohya import DEFAULTS as KOHYA_DEFAULTS
from lib_rimo.training.config.job_file import (
    from_mapping,
    read_job,
    write_job,
)
from lib_rimo.training.config.options import GROUPS, TrainingOptions
from lib_rimo.training.validation import validate

KOHYA_TOML = """
[model_arguments]
v2 = false
pretrained_model_name_or_path = "sd15.safetensors"

[dataset_arguments]
train_data_dir = "pictures"
resolution = "448,704"
cache_latents = true
color_aug = true

[training_arguments]
output_name = "rimochan"
train_batch_size = 2
max_train_steps = 1000
xformers = true
loss_type = "l2"
caption_separator = ","
logging_dir = "logs"
network_module = "networks.lora"
network_dim = 10
network_alpha = 2
network_args = ["conv_dim=4", "conv_alpha=1", "rank_dropout=0.1"]
optimizer_type = "Lion"
text_encoder_lr = 2e-05
unet_lr = 5e-05
lr_scheduler = "cosine_with_restarts"
"""


def test_the_defaults_are_the_recipe():
    options = TrainingOptions()
    assert (options.network_dim, options.network_alpha) == (10, 2)
    assert (options.train_batch_size, options.max_train_steps) == (2, 1000)
    assert options.optimizer_type == "Lion"
    assert (options.text_encoder_lr, options.unet_lr) == (2e-5, 5e-5)
    assert options.lr_scheduler == "cosine_with_restarts"


def test_every_option_has_help_and_a_group():
    for declared in dataclasses.fields(TrainingOptions):
        assert declared.metadata["help"], declared.name
        assert declared.metadata["group"] in GROUPS


def test_a_kohya_file_is_taken_as_it_is(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(KOHYA_TOML)
    options, warnings = read_job(path)
    assert options.pretrained_model_name_or_path == "sd15.safetensors"
    assert options.resolution == "448,704"
    assert (options.conv_dim, options.conv_alpha) == (4, 1.0)
    # Needless ones are silent, unsupported ones are named.
    assert len(warnings) == 2
    assert options.rank_dropout == 0.1
    assert options.logging_dir == "logs"
    assert "enable_bucket True (kohya's trainer: False)" in str(warnings[1])
    assert "color_aug" in str(warnings[0])


def test_a_job_file_is_read_back(tmp_path):
    options = TrainingOptions(train_data_dir="pictures", network_alpha=3, block_dims="1,2")
    write_job(tmp_path / "job.json", options)
    assert read_job(tmp_path / "job.json") == (options, [])


def test_learning_rate_stands_for_both_in_kohyas_files():
    options, _ = from_mapping({"learning_rate": 1e-4})
    assert (options.unet_learning_rate, options.text_encoder_learning_rate) == (1e-4, 1e-4)
    options, _ = from_mapping({"learning_rate": 1e-4, "unet_lr": 5e-5})
    assert (options.unet_learning_rate, options.text_encoder_learning_rate) == (5e-5, 1e-4)
    options, _ = from_mapping({"learning_rate": 1e-4, "network_train_unet_only": True})
    assert options.text_encoder_learning_rate == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["algo=loha"], "loha"),
        (["algo=lokr", "conv_dim=2"], "lokr"),
        (["algo=locon"], "lora"),
        (["algo=lora", "dora_wd=True"], "dora"),
    ],
)
def test_lycoris_algorithms_are_network_types(arguments, expected):
    given = {"network_module": "lycoris.kohya", "network_args": arguments, **KOHYA_DEFAULTS}
    options, warnings = from_mapping(given)
    assert options.network_type == expected
    assert len(warnings) == 1
    assert "preset full also trains conv_in" in str(warnings[0])
    # As LyCORIS has it, convolutions are trained with the dim of the rest unless told otherwise.
    assert options.conv_dim == (2 if "conv_dim=2" in arguments else options.network_dim)
    assert options.conv_alpha == options.network_alpha


def test_what_a_kohya_file_leaves_open_is_said():
    given = {"network_module": "networks.lora", **KOHYA_DEFAULTS}
    del given["network_alpha"]
    options, warnings = from_mapping(given)
    assert options.network_alpha == 2
    assert [*map(str, warnings)] == [
        "What the file does not say is as in the recipe: network_alpha 2 (kohya's trainer: 1)."
    ]


def test_kohyas_block_rates_become_one_vector():
    down = ",".join(["0.5"] * 12)
    options, warnings = from_mapping({"network_args": [f"down_lr_weight={down}"]})
    assert warnings == []
    assert options.block_lr_weight == "1," + down + ",1," + ",".join(["1"] * 12)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("network_dim", 0, "network_dim is 0: use at least 1"),
        ("network_dim", "ten", "network_dim is 'ten': use a whole number"),
        ("unet_lr", "nan", "unet_lr is 'nan': use a number"),
        ("lr_scheduler", "magic", "lr_scheduler is 'magic': use one of constant"),
        ("flip_aug", "maybe", "flip_aug is 'maybe': use true or false"),
        ("max_token_length", 400, "max_token_length is 375: use at least 75 and at most 225"),
        ("output_name", "a:b", "use a name"),
        ("pretrained_model_name_or_path", "", "No base model was named"),
        ("train_data_dir", "", "No pictures were named"),
    ],
)
def test_bad_values_get_one_sentence(name, value, sentence):
    good = {"pretrained_model_name_or_path": "m.safetensors", "train_data_dir": "pictures"}
    with pytest.raises(UserError, match=sentence) as raised:
        validate(from_mapping({**good, name: value})[0])
    assert "\n" not in str(raised.value)


PLAIN_VALUES = st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none())
NAMES = sorted({field.name for field in dataclasses.fields(TrainingOptions)} | _TRANSLATIONS.keys())


@settings(max_examples=200)
@given(
    st.dictionaries(
        st.sampled_from(NAMES),
        st.one_of(PLAIN_VALUES, st.lists(PLAIN_VALUES), st.dictionaries(st.text(), PLAIN_VALUES)),
    )
)
def test_any_values_are_taken_or_refused_in_a_sentence(values):
    with contextlib.suppress(UserError):
        options, _ = from_mapping(values)
        validate(options)
        assert json.dumps(dataclasses.asdict(options))


def test_the_command_line_names_every_option(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    shown = capsys.readouterr().out
    for declared in dataclasses.fields(TrainingOptions):
        assert f"--{declared.name}" in shown
