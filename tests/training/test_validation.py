"""What cannot be trained is refused before anything is loaded, all of it, and by one function."""

import dataclasses
import json
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_rimo.errors import UserError
from lib_rimo.hosts.standalone import Standalone
from lib_rimo.training import loop
from lib_rimo.training.config.job_file import from_mapping
from lib_rimo.training.config.names import LONGEST, check_name
from lib_rimo.training.config.optimizer_names import NAMES
from lib_rimo.training.config.options import TrainingOptions
from lib_rimo.training.jobs.job import run_job
from lib_rimo.training.validation import find_faults
from lib_rimo.ui.train_server import TrainServer

WRONG = [
    ("resolution", "450,700"),
    ("resolution", "1e3"),
    ("optimizer_type", "Lyon"),
    ("optimizer_type", "Lion4bit8bit"),
    ("optimizer_args", ["weight_decay"]),
    ("block_dims", "1,2,3"),
    ("block_dims", ",".join(["1.5"] * 17)),
    ("block_alphas", ",".join(["nan"] * 17)),
    ("block_lr_weight", "a,b"),
    ("network_weights", "/nowhere/x.safetensors"),
    ("network_weights", __file__),
    ("sample_prompts", "1girl --s many"),
    ("sample_prompts", "1girl --s 0"),
    ("sample_prompts", "1girl --w 10000000"),
    ("sample_prompts", "nowhere.txt"),
    ("caption_extension", "a/b"),
    ("caption_extension", "../txt"),
    ("output_name", ".."),
    ("output_name", "a/b"),
    ("output_name", " a"),
    ("output_name", "a\nb"),
    ("output_name", "n" * 300),
    ("output_name", "\ud800"),
    ("output_name", "CON"),
    ("network_dim", 0),
    ("pretrained_model_name_or_path", "/nowhere/x.safetensors"),
    ("pretrained_model_name_or_path", __file__),
    ("train_data_dir", "/nowhere"),
    ("reg_data_dir", "/nowhere"),
]


def faults_of(options, name, value):
    """What is refused, with what it is about, as these options and one wrong one are given."""
    try:
        changed, _ = from_mapping({**dataclasses.asdict(options), name: value})
    except UserError as error:
        return error.messages
    return find_faults(changed)


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_each_way_refuses_alike_before_anything_is_loaded(
    name, value, options, tmp_path, monkeypatch
):
    server = TrainServer(Standalone(tmp_path / "home"))
    monkeypatch.setattr(server.queue, "ensure_running", lambda: pytest.fail("it was queued"))
    monkeypatch.setattr(loop, "Trainer", lambda *_: pytest.fail("a model was loaded"))
    (fault,) = faults_of(options, name, value)
    assert (fault.about, fault.level) == (name, "error")
    given = {**dataclasses.asdict(options), name: value}
    for what in ("estimate", "train"):
        reply = json.loads(server.answer(json.dumps({"do": what, "options": given})))
        if "outside" not in reply["error"] and value != __file__:
            assert reply["messages"] == [fault.as_json()], what
    with pytest.raises(UserError) as refused:
        run_job(dataclasses.replace(options, **{name: value}))
    assert refused.value.messages == (fault,)


def test_a_sound_training_has_no_fault(options):
    assert find_faults(options) == []
    for resolution in ("", "448X704", "448,704", "512"):
        assert find_faults(dataclasses.replace(options, resolution=resolution)) == []


def test_all_faults_are_told_at_once(options):
    given = {**dataclasses.asdict(options), "unet_lr": "much", "network_dim": "ten"}
    with pytest.raises(UserError) as refused:
        from_mapping(given)
    assert {fault.about for fault in refused.value.messages} == {"unet_lr", "network_dim"}
    wrong = dataclasses.replace(options, resolution="1", optimizer_type="x", output_name="a:b")
    assert {fault.about for fault in find_faults(wrong)} == {
        "resolution",
        "optimizer_type",
        "output_name",
    }


@pytest.mark.skipif(sys.platform == "win32", reason="needs a folder that nobody may write into")
def test_a_folder_that_takes_nothing_is_said(options, tmp_path):
    (tmp_path / "file").touch()
    wrong = dataclasses.replace(options, output_dir=str(tmp_path / "file" / "below"))
    assert [fault.about for fault in find_faults(wrong)] == ["output_dir"]


NUMBERS = st.sampled_from(
    [10**400, -(10**400), "1e999", "nan", "inf", "9" * 400, 1e308, float("nan")]
)


@settings(max_examples=150)
@given(st.sampled_from([field.name for field in dataclasses.fields(TrainingOptions)]), NUMBERS)
def test_numbers_of_any_size_are_taken_or_refused(name, value):
    try:
        options, _ = from_mapping({name: value})
        faults = find_faults(options)
        json.dumps(dataclasses.asdict(options), allow_nan=False)
    except UserError as error:
        faults = [*error.messages]
    assert all(len(str(fault)) < 1000 for fault in faults)


@settings(max_examples=300)
@given(st.text(max_size=200))
def test_a_name_that_is_taken_can_be_a_files(tmp_path_factory, name):
    if check_name(name):
        return
    assert len(name.encode()) <= LONGEST
    folder = tmp_path_factory.mktemp("name")
    (folder / f".{name}-step00000500.safetensors.4194304.part").touch()
    (folder / f"{name}.job").mkdir()
    assert {path.parent for path in folder.rglob("*")} == {folder}


def test_every_optimizer_is_named_here_too():
    library = pytest.importorskip("pytorch_optimizer")
    assert set(library.get_supported_optimizers()) == NAMES


def test_a_checkpoint_is_no_lora_to_go_on_from(options, narrow_sd1):
    (fault,) = faults_of(options, "network_weights", str(narrow_sd1))
    assert fault.about == "network_weights"
