"""Two processes with batches of one give the LoRA of one process with batches of two."""

import dataclasses
import os
import subprocess
import sys

import pytest
import torch

from lib_rimo.environment import ROOT
from lib_rimo.lora.files import read_lora
from lib_rimo.training.config.job_file import write_job
from lib_rimo.training.jobs.job import run_job


@pytest.mark.slow
def test_two_processes_equal_one(options, tmp_path):
    options.optimizer_type, options.optimizer_args = "AdamW", ["eps=1e-4"]
    options.unet_lr = options.text_encoder_lr = 1e-5
    alone = run_job(dataclasses.replace(options, output_dir=str(tmp_path / "alone")))
    job = tmp_path / "job.json"
    write_job(job, dataclasses.replace(options, train_batch_size=1))
    # On a machine without GPUs too this is the option that starts several processes; the job's
    # device decides where they compute.
    launch = "-m accelerate.commands.launch --multi_gpu --num_machines 1 --num_processes 2"
    settings = "--mixed_precision no --dynamo_backend no --main_process_port 0"
    completed = subprocess.run(
        [sys.executable, *launch.split(), *settings.split(), "-m", "lib_rimo", "train", str(job)],
        cwd=ROOT,
        env={**os.environ, "RIMO_ENVIRONMENT": "current"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert completed.returncode == 0, completed.stderr
    together = tmp_path / "small.safetensors"
    ours, theirs = read_lora(together), read_lora(alone)
    assert ours.metadata["ss_total_batch_size"] == theirs.metadata["ss_total_batch_size"] == "2"
    for name, tensor in theirs.tensors.items():
        torch.testing.assert_close(ours.tensors[name], tensor, rtol=1e-3, atol=1e-5)
