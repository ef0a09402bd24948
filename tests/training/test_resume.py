"""A killed training goes on to the very LoRA that an undisturbed one gives."""

import dataclasses
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from lib_rimo.environment import ROOT
from lib_rimo.errors import UserError
from lib_rimo.inference.generation import Generator
from lib_rimo.lora.files import read_lora
from lib_rimo.training import loop, step
from lib_rimo.training.config.job_file import state_files, write_job
from lib_rimo.training.events import CommandFolder, read_events
from lib_rimo.training.jobs.job import run_job, training_folder
from lib_rimo.training.state import read_state


def assert_equal_loras(first, second):
    ours, theirs = read_lora(first).tensors, read_lora(second).tensors
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


@pytest.fixture(autouse=True)
def heeding_ctrl_c():
    """A shell that starts the tests in its background has them ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def undisturbed(small_training, tmp_path_factory):
    return run_job(small_training(tmp_path_factory.mktemp("undisturbed")))


# A trainer that sends itself a signal at a moment of its own, so that the kill is real and the
# moment does not depend on how busy the machine is: after a step, or before the n-th file that it
# has written takes its place.
STRUCK = """
import os, signal, sys
from pathlib import Path
from lib_rimo.training.jobs.job import run_job
from lib_rimo.training.config.job_file import read_job

job, name, kind, number, *resume = sys.argv[1:]
written = 0

def strike():
    os.kill(os.getpid(), getattr(signal, name))

def after_step(event):
    if kind == event["kind"] and event["step"] == int(number):
        strike()

def before_file(descriptor):
    global written
    written += 1
    if kind == "file" and written == int(number):
        strike()

os.fsync = before_file
run_job(read_job(Path(job))[0], [after_step], resume=bool(resume))
"""
ENVIRONMENT = {**os.environ, "RIMO_ENVIRONMENT": "current"}


def train_until(options, name, kind, number, *resume):
    """Train in a process of its own until the signal strikes; its exit status."""
    job = training_folder(options).with_suffix(".json")
    write_job(job, options)
    command = [sys.executable, "-c", STRUCK, str(job), name, kind, str(number), *resume]
    return subprocess.call(command, cwd=ROOT, env=ENVIRONMENT)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals")
def test_kill_and_resume_is_bit_identical(options, undisturbed):
    options.save_state_every_n_steps = 1
    assert train_until(options, "SIGKILL", "progress", 2) == -signal.SIGKILL
    # the options, the state after step 2, the state after step 3
    assert train_until(options, "SIGKILL", "file", 3, "--resume") == -signal.SIGKILL
    assert [path.suffix for path in training_folder(options).glob(".state.pt.*")] == [".part"]
    command = [sys.executable, "-m", "lib_rimo", "train", "--resume", "--events", "json"]
    output = subprocess.check_output(
        [*command, str(training_folder(options).with_suffix(".json"))],
        cwd=ROOT,
        env=ENVIRONMENT,
        text=True,
    )
    assert '"kind": "resumed"' in output
    path = training_folder(options).parent / f"{options.output_name}.safetensors"
    assert_equal_loras(path, undisturbed)
    assert list(path.parent.rglob(".*.part")) == []


# Other signals and moments are tried in tests/attack/kills.py.
def test_a_finished_run_ends_at_once_and_says_so(options, undisturbed, monkeypatch):
    shutil.copytree(undisturbed.parent, options.output_dir, dirs_exist_ok=True)
    monkeypatch.setattr(loop, "Trainer", None)  # nothing large is read
    told = []
    lora = run_job(options, [told.append], resume=True)
    assert lora.read_bytes() == undisturbed.read_bytes()
    (said,) = (event["text"] for event in told if event["kind"] == "warning")
    assert f"is finished, in {lora}" in said
    with pytest.raises(TypeError):  # another run's options are looked at as before
        run_job(dataclasses.replace(options, seed=7), resume=True)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals")
def test_termination_signal_saves_and_resumes(options, undisturbed):
    assert train_until(options, "SIGTERM", "progress", 2) == 0
    events = list(read_events(training_folder(options) / "events.jsonl"))
    assert events[-1]["kind"] == "stopped"
    saved = training_folder(options).parent / f"{options.output_name}.safetensors"
    assert read_lora(saved).metadata["ss_steps"] == "2"
    assert_equal_loras(run_job(options, resume=True), undisturbed)


def test_stop_command_leaves_a_usable_lora(options):
    def stop_at_two(event):
        if event["kind"] == "progress" and event["step"] == 2:
            CommandFolder(training_folder(options) / "commands").give("stop")

    assert run_job(options, [stop_at_two]) is None
    kinds = [event["kind"] for event in read_events(training_folder(options) / "events.jsonl")]
    assert kinds[-1] == "stopped"
    lora = read_lora(training_folder(options).parent / "small.safetensors")
    assert lora.metadata["ss_steps"] == "2"


def test_resume_with_other_options_is_refused(options):
    run_job(options)
    options.network_alpha = 1.0
    with pytest.raises(UserError, match="other network_alpha"):
        run_job(options, resume=True)


def test_schedule_free_state_survives(options, tmp_path):
    options.optimizer_type = "ScheduleFreeAdamW"
    whole = run_job(dataclasses.replace(options, output_dir=str(tmp_path / "whole")))

    def stop_at_three(event):
        if event["kind"] == "progress" and event["step"] == 3:
            CommandFolder(training_folder(options) / "commands").give("stop")

    run_job(options, [stop_at_three])
    assert_equal_loras(run_job(options, resume=True), whole)


def test_a_damaged_state_is_told_of(options):
    folder = training_folder(options)
    folder.mkdir()
    (folder / "state.pt").write_bytes(b"not a state")
    with pytest.raises(UserError, match="is damaged: start again"):
        run_job(options, resume=True)


def test_a_new_run_removes_what_a_killed_one_left_and_nothing_else(options, tmp_path):
    left = {
        tmp_path / ".small.safetensors.123.part",
        tmp_path / ".small-step00000004.safetensors.123.part",
        tmp_path / "sample" / ".small_000004_00_1.png.123.part",
        training_folder(options) / ".state.pt.123.part",
    }
    kept = {
        tmp_path / ".smaller.safetensors.123.part",  # another training's, which may be running
        tmp_path / ".small-steps.safetensors.123.part",
        tmp_path / "sample" / ".smaller_000004_00_1.png.123.part",
    }
    for path in left | kept:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    run_job(dataclasses.replace(options, max_train_steps=1))
    assert set(tmp_path.rglob(".*.part")) == kept


@pytest.mark.parametrize("name", ["small.safetensors", "state.pt"])
def test_a_full_disk_leaves_the_old_file_whole(options, monkeypatch, name):
    lora = run_job(options)
    (path,) = lora.parent.rglob(name)
    before = path.read_bytes()
    write_bytes = Path.write_bytes

    def write(path, content):
        if path.name.startswith(f".{name}."):
            write_bytes(path, content[:100])
            raise OSError(28, "No space left on device")
        return write_bytes(path, content)

    monkeypatch.setattr(Path, "write_bytes", write)
    with pytest.raises(UserError, match=f"The disk is full, {name} could not be written"):
        run_job(options)
    assert path.read_bytes() == before
    assert list(lora.parent.rglob(".*.part")) == []


def test_a_non_finite_loss_stops_and_keeps_the_last_file(options, monkeypatch):
    from lib_rimo.training.objective import Objective

    loss = Objective.loss
    calls = []

    def breaks_at_four(self, *arguments):
        calls.append(1)
        return loss(self, *arguments) * (float("nan") if len(calls) == 4 else 1)

    monkeypatch.setattr(Objective, "loss", breaks_at_four)
    options.save_every_n_steps = 2
    with pytest.raises(UserError, match="halve the learning rates"):
        run_job(options)
    kept = training_folder(options).parent / "small-step00000002.safetensors"
    assert all(tensor.isfinite().all() for tensor in read_lora(kept).tensors.values())


@pytest.mark.parametrize(
    "changes",
    [
        {
            "rank_dropout": 0.3,
            "module_dropout": 0.3,
            "noise_offset": 0.1,
            "noise_offset_random_strength": True,
            "multires_noise_iterations": 3,
            "ip_noise_gamma": 0.1,
            "enable_wildcard": True,
            "shuffle_caption": True,
            "lr_scheduler_type": "CosineAnnealingLR",
            "lr_scheduler_args": ["T_max=4"],
            "scale_weight_norms": 0.01,
        },
        {"optimizer_type": "Prodigy", "unet_lr": 1.0, "text_encoder_lr": 0.1},
    ],
)
def test_all_that_is_random_goes_on_the_same(options, changes, tmp_path):
    options = dataclasses.replace(options, max_train_steps=4, **changes)
    straight = run_job(dataclasses.replace(options, output_dir=str(tmp_path / "straight")))

    def stop_at_two(event):
        if event["kind"] == "progress" and event["step"] == 2:
            CommandFolder(training_folder(options) / "commands").give("stop")

    assert run_job(options, [stop_at_two]) is None
    assert_equal_loras(run_job(options, resume=True), straight)


def stop_at(options, step, times=1):
    """A sink that interrupts this process at a step, as Ctrl+C does."""

    def strike(event):
        if event["kind"] == "progress" and event["step"] == step:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)

    return strike


def state_files_of(options):
    return state_files(training_folder(options))


def test_a_flipped_bit_goes_back_to_the_state_before(options, undisturbed):
    options.save_state_every_n_steps = 2
    assert run_job(options, [stop_at(options, 5)]) is None
    newest, _ = state_files_of(options)
    content = bytearray(newest.read_bytes())
    with zipfile.ZipFile(newest) as archive:  # between its parts nothing is read
        largest = archive.read(max(archive.infolist(), key=lambda part: part.file_size))
    content[content.index(largest) + len(largest) // 2] ^= 4
    newest.write_bytes(content)
    told = []
    path = run_job(options, [told.append], resume=True)
    assert next(event for event in told if event["kind"] == "resumed")["step"] == 4
    assert any("goes on from the one before it, after step 4" in str(event) for event in told)
    assert sum("is damaged" in str(event) for event in told) == 1
    assert_equal_loras(path, undisturbed)


def test_no_flipped_bit_is_resumed_in_silence(options):
    run_job(dataclasses.replace(options, max_train_steps=1))
    newest, _ = state_files_of(options)
    whole = newest.read_bytes()
    state = read_state(newest.parent, lambda message: None)
    rng = random.Random(0)
    for _ in range(30):
        content = bytearray(whole)
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        newest.write_bytes(content)
        try:
            read = read_state(newest.parent, lambda message: None)
        except UserError:
            continue
        assert same(read, state)  # a byte between the parts, which nothing reads


def same(first, second):
    """Whether two states are equal to the bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    return repr(first) == repr(second)


def test_the_same_pictures_elsewhere_are_the_same_run(options, undisturbed, tmp_path):
    assert run_job(options, [stop_at(options, 2)]) is None
    for name in ("train_data_dir", "pretrained_model_name_or_path"):
        source = Path(getattr(options, name))
        moved = tmp_path / "moved" / source.name
        moved.parent.mkdir(exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, moved)
        setattr(options, name, os.path.relpath(moved) + ("/" if source.is_dir() else ""))
    caption = Path(options.train_data_dir) / "0.txt"
    before = caption.read_bytes()
    caption.write_text("another caption")
    with pytest.raises(UserError, match="other pictures"):
        run_job(options, resume=True)
    caption.write_bytes(before)
    assert_equal_loras(run_job(options, resume=True), undisturbed)


def test_numbers_that_were_lost_are_never_saved_and_lower_rates_go_on(options, monkeypatch):
    options.save_state_every_n_steps = 1
    options.max_grad_norm = 0

    train_step = loop.train_step

    def loses_at_three(trainer):
        train_step(trainer)
        if trainer.run.step == 3:
            trainer.parameters[0].data.fill_(math.nan)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "train_step", loses_at_three)
        with pytest.raises(UserError, match="halve the learning rates"):
            run_job(options)
    options.unet_lr = options.text_encoder_lr = 5e-4
    told = []
    path = run_job(options, [told.append], resume=True)
    assert next(event for event in told if event["kind"] == "resumed")["step"] == 2
    assert any("goes on with other" in event.get("text", "") for event in told)
    rates = [event["learning_rates"] for event in told if event["kind"] == "progress"]
    assert max(rates[0]) <= 5e-4
    assert all(tensor.isfinite().all() for tensor in read_lora(path).tensors.values())


def test_a_second_ctrl_c_leaves_the_step_and_saves(options, undisturbed, monkeypatch):
    batch_loss = step.batch_loss

    def interrupted(trainer, index):
        if trainer.run.step == 3:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return batch_loss(trainer, index)

    with monkeypatch.context() as patched:
        patched.setattr(step, "batch_loss", interrupted)
        assert run_job(options) is None
    saved = training_folder(options).parent / f"{options.output_name}.safetensors"
    assert read_lora(saved).metadata["ss_steps"] == "3"
    assert_equal_loras(run_job(options, resume=True), undisturbed)


def test_what_cannot_be_drawn_costs_no_training(options, undisturbed, monkeypatch):
    options.sample_every_n_steps, options.save_state_every_n_steps = 3, 0
    prompts = Path(options.output_dir) / "prompts.txt"
    prompts.write_text("a --w 64 --h 64 --s 1")
    options.sample_prompts = str(prompts)

    def spoil(event):
        if event["kind"] == "progress" and event["step"] == 2:
            prompts.write_text("a --w x\nb --w 64 --h 64 --s 1\nc --s 1")
        if event["kind"] == "sample" and event["step"] == 3:
            prompts.unlink()

    draw = Generator.draw

    def failing(self, settings):
        if settings.prompt == "c":
            raise RuntimeError("no more memory")
        return draw(self, settings)

    monkeypatch.setattr(Generator, "draw", failing)
    told = []
    path = run_job(options, [spoil, told.append])
    assert_equal_loras(path, undisturbed)
    warnings = [event["text"] for event in told if event["kind"] == "warning"]
    assert [event["step"] for event in told if event["kind"] == "sample"] == [3]
    for words in ("'a --w x' cannot be read", "no more memory", "prompts.txt cannot be read"):
        assert any(words in text for text in warnings), words


def test_a_terminal_that_is_gone_holds_no_training_up(options):
    def gone(event):
        raise OSError(5, "Input/output error")

    assert run_job(dataclasses.replace(options, max_train_steps=1), [gone]) is not None
