"""Whole trainings with what spares memory: the same LoRA, or nearly."""

import dataclasses

import pytest
import torch

from lib_rimo.errors import UserError
from lib_rimo.lora.files import read_lora
from lib_rimo.training.config.job_file import from_mapping
from lib_rimo.training.jobs.job import run_job
from lib_rimo.training.validation import validate


def changed(options, tmp_path, name, **values):
    return dataclasses.replace(options, output_dir=str(tmp_path / name), **values)


def losses_of(options):
    told = []
    path = run_job(options, [told.append])
    return path, [event["loss"] for event in told if event["kind"] == "progress"]


def test_what_waits_in_main_memory_trains_the_same_lora(options, tmp_path):
    options = dataclasses.replace(options, text_encoder_lr=0.0, gradient_checkpointing=True)
    plain = read_lora(run_job(options)).tensors
    sparing = changed(
        *(options, tmp_path, "sparing"),
        cache_text_encoder_outputs=True,
        cpu_offload_checkpointing=True,
        blocks_to_swap=5,
    )
    same = read_lora(run_job(sparing)).tensors
    assert all(torch.equal(same[name], tensor) for name, tensor in plain.items())


def test_8_bits_learn_nearly_the_same(options, tmp_path):
    _, expected = losses_of(options)
    path, losses = losses_of(changed(options, tmp_path, "narrow", fp8_base=True))
    assert losses == pytest.approx(expected, rel=0.02)
    assert losses != expected
    assert all(tensor.isfinite().all() for tensor in read_lora(path).tensors.values())


def test_8_bits_go_on_as_if_never_stopped(options, tmp_path):
    options = dataclasses.replace(options, fp8_base=True)
    whole = read_lora(run_job(options)).tensors
    parts = changed(options, tmp_path, "parts", save_state_every_n_steps=3)
    assert run_job(parts, [_interrupt_after(4)]) is None
    again = read_lora(run_job(parts, resume=True)).tensors
    assert all(torch.equal(again[name], tensor) for name, tensor in whole.items())


def _interrupt_after(step):
    def sink(event):
        if event["kind"] == "progress" and event["step"] == step:
            raise KeyboardInterrupt

    return sink


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"blocks_to_swap": 3}, "blocks_to_swap goes only with gradient_checkpointing"),
        ({"cpu_offload_checkpointing": True}, "cpu_offload_checkpointing goes only with"),
        ({"cache_text_encoder_outputs": True}, "set text_encoder_lr to 0"),
        ({"fp8_base": True, "network_type": "loha"}, "fp8_base goes only with network_type lora"),
    ],
)
def test_what_does_not_go_together_is_refused(options, values, said):
    with pytest.raises(UserError, match=said):
        validate(dataclasses.replace(options, **values))


def test_kohyas_names_are_understood():
    options, warnings = from_mapping(
        {
            "network_module": "networks.lora",
            "network_train_unet_only": True,
            "cache_text_encoder_outputs": True,
            "fp8_base": True,
            "blocks_to_swap": 18,
            "cpu_offload_checkpointing": True,
            "gradient_checkpointing": True,
        }
    )
    assert options.cache_text_encoder_outputs
    assert options.fp8_base
    assert options.cpu_offload_checkpointing
    assert options.blocks_to_swap == 18
    assert not any("left out" in str(warning) for warning in warnings)
