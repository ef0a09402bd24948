"""What a training gives: for every family, network, optimizer and schedule."""

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from lib_rimo.errors import UserError
from lib_rimo.lora.blocks import block_of_key
from lib_rimo.lora.files import hashes, read_lora
from lib_rimo.sd.checkpoint import load_checkpoint
from lib_rimo.training.data.dataset import TrainingSet
from lib_rimo.training.events import CommandFolder, read_events
from lib_rimo.training.jobs.job import run_job, training_folder
from lib_rimo.training.jobs.progress import Progress
from lib_rimo.training.setup import make_network
from tests.sd.narrow import write_narrow_checkpoint


def learned(path):
    """The largest value in any matrix that starts at zero."""
    tensors = read_lora(path).tensors
    return max(tensor.abs().max().item() for name, tensor in tensors.items() if "lora_up" in name)


@pytest.fixture
def quick(options):
    options.max_train_steps = 2
    return options


@pytest.mark.parametrize("family", ["sd2", "sdxl"])
def test_the_other_families_train(quick, family, tmp_path):
    base = tmp_path / f"{family}.safetensors"
    write_narrow_checkpoint(base, family, v=family == "sd2")
    told = []
    path = run_job(
        dataclasses.replace(quick, pretrained_model_name_or_path=str(base)), [told.append]
    )
    lora = read_lora(path)
    expected = {"sd2": "sd_v2_v", "sdxl": "sdxl_base_v1-0"}[family]
    assert lora.metadata["ss_base_model_version"] == expected
    assert lora.metadata["ss_v2"] == str(family == "sd2")
    assert learned(path) > 0
    prefixes = {"sd2": {"lora_te_"}, "sdxl": {"lora_te1", "lora_te2"}}[family]
    assert {name[:8] for name in lora.tensors} - {"lora_une"} == prefixes


@pytest.mark.parametrize(
    ("optimizer", "arguments"),
    [
        ("Lion", ["betas=0.9,0.95", "weight_decay=0.1"]),
        ("AdamW", []),
        ("AdaFactor", ["scale_parameter=False", "relative_step=False", "warmup_init=False"]),
        ("Prodigy", ["decouple=True", "use_bias_correction=True", "safeguard_warmup=True"]),
        ("DAdaptation", ["decouple=True"]),
        ("DAdaptLion", []),
        ("DAdaptAdanIP", []),
        ("SGDNesterov", []),
        ("AdamWScheduleFree", []),
        ("Lion8bit", []),
        ("PagedAdamW32bit", []),
    ],
)
def test_optimizers_by_kohyas_names(quick, optimizer, arguments):
    quick.optimizer_type, quick.optimizer_args = optimizer, arguments
    told = []
    assert learned(run_job(quick, [told.append])) > 0
    texts = [event["text"] for event in told if event["kind"] == "warning"]
    if optimizer == "Lion8bit":
        assert texts == ["bitsandbytes is not installed: Lion8bit runs as plain lion."]
    if optimizer.startswith(("Prodigy", "DAdapt")):
        assert "finds the learning rate itself" in texts[0]


@pytest.mark.parametrize(
    ("scheduler", "settings", "expected"),
    [
        ("constant", {}, [1, 1, 1, 1]),
        ("constant", {"lr_warmup_steps": 0.5}, [0.5, 1, 1, 1]),
        ("linear", {}, [0.75, 0.5, 0.25, 0]),
        ("cosine", {}, [0.854, 0.5, 0.146, 0]),
        ("cosine_with_restarts", {"lr_scheduler_num_cycles": 2}, [0.5, 1, 0.5, 0]),
        ("polynomial", {"lr_scheduler_power": 2.0}, [0.5625, 0.25, 0.0625, 0]),
    ],
)
def test_schedules(quick, scheduler, settings, expected):
    options = dataclasses.replace(
        quick, lr_scheduler=scheduler, max_train_steps=4, text_encoder_lr=0, **settings
    )
    told = []
    run_job(options, [told.append])
    rates = [event["learning_rates"][0] for event in told if event["kind"] == "progress"]
    assert rates == pytest.approx([options.unet_lr * part for part in expected], abs=2e-6)


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
@pytest.mark.parametrize("network_type", ["loha", "lokr", "dora"])
def test_lycoris_types_learn(quick, network_type):
    untrained = read_lora(run_job(dataclasses.replace(quick, unet_lr=1e-12, text_encoder_lr=1e-12)))
    lora = read_lora(run_job(dataclasses.replace(quick, network_type=network_type)))
    endings = {name.partition(".")[2] for name in lora.tensors}
    known = {"loha": "hada_w1_a", "lokr": "lokr_w1", "dora": "dora_scale"}[network_type]
    assert known in endings
    assert lora.metadata["ss_network_module"] == "lycoris.kohya"
    assert untrained.metadata["ss_network_module"] == "networks.lora"


def test_the_text_encoder_can_be_left_alone(quick):
    quick.text_encoder_lr = 0
    assert not any(name.startswith("lora_te") for name in read_lora(run_job(quick)).tensors)


def test_block_vectors_are_those_of_inference(quick):
    quick.block_dims = "0,4,4,2,2,4,4,0,4,4,4,4,4,4,4,4,4"
    quick.block_lr_weight = "1,1,1,1,1,0,1,1,1,1,1,1,1,1,1,1,1"
    quick.text_encoder_lr = 1e-3
    tensors = read_lora(run_job(quick)).tensors
    dims, moved = {}, {}
    for name, tensor in tensors.items():
        block = block_of_key(name)
        if name.endswith("lora_down.weight"):
            dims[block] = tensor.shape[0]
        if name.endswith("lora_up.weight"):
            moved[block] = moved.get(block, 0) + tensor.abs().sum().item()
    assert "BASE" not in dims
    assert "M00" not in dims
    assert (dims["IN01"], dims["IN04"], dims["OUT11"]) == (4, 2, 4)
    assert moved["IN07"] == 0
    assert all(moved[block] > 0 for block in dims if block != "IN07")
    quick.block_dims = "1,2,3"
    with pytest.raises(UserError, match="block_dims: 3 block values fit no layout"):
        run_job(quick)


def test_a_lora_can_be_gone_on_from(quick):
    first = run_job(quick)
    again = dataclasses.replace(
        quick, output_name="again", network_weights=str(first), unet_lr=1e-12, text_encoder_lr=1e-12
    )
    ours, theirs = read_lora(run_job(again)).tensors, read_lora(first).tensors
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-4, atol=1e-7)


def test_the_file_says_what_it_is(quick):
    quick.save_precision = "fp16"
    quick.trigger_word = "rimochan"
    path = run_job(quick)
    lora = read_lora(path)
    metadata = lora.metadata
    assert metadata["ss_base_model_version"] == "sd_v1"
    assert metadata["ss_network_dim"] == "4"
    assert metadata["ss_steps"] == "2"
    assert '"rimochan": 5' in metadata["ss_tag_frequency"]
    assert metadata["ss_output_name"] == "small"
    stored = {name: text for name, text in metadata.items() if not name.startswith("sshs_")}
    assert hashes(lora.tensors, stored) == {
        name: text for name, text in metadata.items() if name.startswith("sshs_")
    }
    assert {tensor.dtype for tensor in lora.tensors.values()} == {torch.float16}
    alphas = {tensor.item() for name, tensor in lora.tensors.items() if name.endswith("alpha")}
    assert alphas == {2.0}


def test_files_on_the_way_and_commands(quick):
    quick.max_train_steps = 5
    quick.save_every_n_steps = 2
    commands = CommandFolder(training_folder(quick) / "commands")

    def save_after_three(event):
        if event["kind"] == "progress" and event["step"] == 3:
            commands.give("save")

    run_job(quick, [save_after_three])
    folder = training_folder(quick).parent
    assert {path.name for path in folder.glob("*.safetensors")} == {
        "small.safetensors",
        "small-step00000002.safetensors",
        "small-step00000004.safetensors",
    }
    saved = [
        event["step"]
        for event in read_events(training_folder(quick) / "events.jsonl")
        if event["kind"] == "saved"
    ]
    assert saved == [2, 3, 4, 5]


def test_steps_are_timed_once_all_pictures_are_encoded(quick):
    quick.max_train_steps, told = 15, []
    run_job(quick, [told.append])
    steps = [event for event in told if event["kind"] == "progress"]
    # Five pictures in batches of two: the first three steps encode.
    timed = [event["step"] for event in steps if event["seconds_a_step"] is not None]
    assert timed == [13, 14, 15]
    assert Progress.of(training_folder(quick) / "events.jsonl").seconds_a_step > 0


def test_a_stop_need_not_wait_until_all_pictures_are_encoded(quick, monkeypatch):
    encoded = []
    monkeypatch.setattr(
        TrainingSet, "_load", lambda self, *which, load=TrainingSet._load: (
            encoded.append(which), load(self, *which)
        )
    )  # fmt: skip
    quick.train_batch_size = 1
    told = []

    def stop(event):
        told.append(event)
        if event["kind"] == "phase":
            CommandFolder(training_folder(quick) / "commands").give("stop")

    assert run_job(quick, [stop]) is None
    assert len(encoded) == 1
    assert told[-1]["kind"] == "stopped"


def test_half_precision_without_a_gpu_is_said(quick):
    quick.mixed_precision = "fp16"
    told = []
    assert learned(run_job(quick, [told.append])) > 0
    texts = [event["text"] for event in told if event["kind"] == "warning"]
    assert texts == ["mixed_precision fp16 needs a GPU: fp32 is used."]


def test_samples_are_drawn_with_the_lora_of_the_moment(quick):
    quick.sample_every_n_steps = 1
    quick.unet_lr = quick.text_encoder_lr = 0.1
    quick.conv_dim = 2
    quick.sample_prompts = "rimochan, red --w 64 --h 128 --d 5 --s 2 --l 3 --n bad, worse"
    told = []
    run_job(quick, [told.append])
    paths = [Path(event["path"]) for event in told if event["kind"] == "sample"]
    assert [path.name for path in paths] == ["small_000001_00_5.png", "small_000002_00_5.png"]
    first, second = (Image.open(path) for path in paths)
    assert first.size == (64, 128)
    assert "Negative prompt: bad, worse\nSteps: 2" in first.info["parameters"]
    assert first.tobytes() != second.tobytes()


def test_drawing_samples_does_not_change_what_is_learned(quick):
    plain = read_lora(run_job(quick)).tensors
    quick.sample_every_n_steps = 1
    sampled = read_lora(run_job(quick)).tensors
    assert all(torch.equal(tensor, sampled[name]) for name, tensor in plain.items())


def test_epochs_count_in_steps(quick):
    quick.max_train_epochs = 2
    path = run_job(quick)
    assert read_lora(path).metadata["ss_steps"] == "6"  # five pictures in batches of two


def test_an_epochs_last_batches_make_a_step(quick):
    quick.max_train_epochs, quick.gradient_accumulation_steps = 2, 2  # three batches an epoch
    assert read_lora(run_job(quick)).metadata["ss_steps"] == "4"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"pretrained_model_name_or_path": "missing.safetensors"},
            "no base model missing",
        ),
        ({"train_data_dir": "missing"}, "There is no folder missing"),
        ({"optimizer_type": "Magic"}, "optimizer_type is 'Magic'"),
        ({"optimizer_args": ["magic=1"]}, "Lion does not take magic in optimizer_args"),
        ({"device": "cuda"}, "device is cuda but this machine offers"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(quick, changes, sentence):
    if "device" in changes and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    told = []
    with pytest.raises(UserError, match=sentence):
        run_job(dataclasses.replace(quick, **changes), [told.append])
    assert told[-1]["kind"] == "failed"
    assert sentence in told[-1]["text"]


def test_out_of_memory_names_what_costs_least(quick, monkeypatch):
    def full(*_arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr("lib_rimo.training.step.batch_loss", full)
    with pytest.raises(UserError, match=r"try gradient_checkpointing .* then .*train_batch_size"):
        run_job(quick)


def test_samples_by_epochs_and_before_the_first_step(quick):
    quick.max_train_epochs, quick.sample_every_n_epochs = 1, 1  # three steps an epoch
    quick.sample_every_n_steps = 1  # does not count beside epochs
    quick.sample_at_first = True
    quick.sample_prompts = "red --w 64 --h 64 --d 5 --s 1"
    told = []
    run_job(quick, [told.append])
    assert [event["step"] for event in told if event["kind"] == "sample"] == [0, 3]


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({"save_last_n_steps": 2}, [3, 4, 5]),
        ({"save_last_n_steps": 1}, [4, 5]),
        ({"save_every_n_steps": 2, "save_last_n_steps": 1}, [4]),
        ({}, [1, 2, 3, 4, 5]),
    ],
)
def test_only_the_last_saved_files_are_kept(options, changes, kept):
    options = dataclasses.replace(options, **{"save_every_n_steps": 1, **changes})
    run_job(options)
    files = Path(options.output_dir).glob("small-step*.safetensors")
    assert sorted(int(path.stem[-8:]) for path in files) == kept


def test_the_course_is_written_for_tensorboard(quick, tmp_path):
    pytest.importorskip("tensorboardX")
    quick.logging_dir, quick.log_prefix = str(tmp_path / "logs"), "mine-"
    run_job(quick)
    (folder,) = (tmp_path / "logs").iterdir()
    assert folder.name.startswith("mine-2")
    (file,) = folder.iterdir()
    assert file.read_bytes().count(b"loss/current") == 2


def test_a_schedule_of_pytorchs(quick):
    quick.lr_scheduler_type = "CosineAnnealingLR"
    quick.lr_scheduler_args = ["T_max=1", "eta_min=0"]
    told = []
    run_job(quick, [told.append])
    rates = [event["learning_rates"] for event in told if event["kind"] == "progress"]
    assert rates[0] == [0.0]
    for bad, sentence in (("Nothing", "use a class"), ("ReduceLROnPlateau", "use")):
        quick.lr_scheduler_type = bad
        with pytest.raises(UserError, match=sentence):
            run_job(quick)


@pytest.mark.parametrize(
    "changes",
    [
        {"rank_dropout": 0.3, "module_dropout": 0.3, "network_dropout": 0.2},
        {"scale_weight_norms": 1e-3},
        {"loraplus_lr_ratio": 4.0, "loss_type": "huber", "multires_noise_iterations": 3},
        {"network_type": "lokr", "factor": 2, "decompose_both": True},
        {"network_type": "diag-oft", "network_dim": 2},
        {"train_norm": True},
    ],
)
def test_kohyas_further_options_train_and_change_what_is_learned(quick, changes):
    plain = read_lora(run_job(quick)).tensors
    other = read_lora(run_job(dataclasses.replace(quick, **changes))).tensors
    assert all(tensor.isfinite().all() for tensor in other.values())
    trained = [name for name in other if not name.endswith(".alpha")]
    assert not all(torch.equal(plain.get(name, torch.zeros(0)), other[name]) for name in trained)


def test_a_vae_file_of_its_own_encodes_the_pictures(quick, tmp_path):
    plain = read_lora(run_job(quick)).tensors
    base = load_file(quick.pretrained_model_name_or_path)
    prefix = "first_stage_model."
    vae = {
        name.removeprefix(prefix): tensor * 1.5 if name.endswith("conv_in.weight") else tensor
        for name, tensor in base.items()
        if name.startswith(prefix)
    }
    save_file(vae, tmp_path / "vae.safetensors")
    quick.vae = str(tmp_path / "vae.safetensors")
    path = run_job(quick)
    assert read_lora(path).metadata["ss_vae_name"] == "vae.safetensors"
    other = read_lora(path).tensors
    assert not all(torch.equal(tensor, other[name]) for name, tensor in plain.items())


def test_captions_beyond_the_limit_are_said_once_with_their_names(quick, tmp_path):
    folder = tmp_path / "long"
    shutil.copytree(quick.train_data_dir, folder)
    (folder / "3.txt").write_text("rimochan, " + ", ".join(["red"] * 80))
    told = []
    run_job(dataclasses.replace(quick, train_data_dir=str(folder)), [told.append])
    said = [event["text"] for event in told if "max_token_length 75" in event.get("text", "")]
    assert len(said) == 1
    assert said[0].endswith("not read: 3.png.")


def test_full_bf16_keeps_what_is_trained_in_bf16(quick):
    checkpoint = load_checkpoint(quick.pretrained_model_name_or_path)
    options = dataclasses.replace(quick, full_bf16=True, mixed_precision="bf16")
    for chosen, dtype in ((options, torch.bfloat16), (quick, torch.float32)):
        network = make_network(checkpoint, chosen)
        assert {parameter.dtype for parameter in network.parameters()} == {dtype}
        network.detach()
