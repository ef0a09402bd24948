"""One step of a training: forward and backward for each batch, then the optimizer."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext

import torch

from lib_rimo.messages import Message
from lib_rimo.training.processes import average_gradients
from lib_rimo.training.run import CRAWL, crawling, not_finite
from lib_rimo.training.trainer import Trainer


def train_step(trainer: Trainer) -> None:
    """Train one step and tell of it; raises UserError where the loss is no number."""
    started, encoded = time.monotonic(), trainer.data.encoded
    options, run, accelerator = trainer.options, trainer.run, trainer.accelerator
    accumulation = options.gradient_accumulation_steps
    # Dropout is all that uses the global generator.
    torch.manual_seed((options.seed << 32) + run.step * 1024 + accelerator.process_index)
    loss = torch.zeros((), device=accelerator.device)
    for batch_index in range(run.step * accumulation, (run.step + 1) * accumulation):
        part = batch_loss(trainer, batch_index) / accumulation
        accelerator.backward(part)
        loss += part.detach()
    average_gradients(accelerator, trainer.parameters)
    if options.max_grad_norm:
        accelerator.clip_grad_norm_(trainer.parameters, options.max_grad_norm)
    mean_loss = accelerator.reduce(loss, "mean").item()
    if not math.isfinite(mean_loss):
        raise not_finite(Message("loss"))
    trainer.is_whole = False
    trainer.optimizer.step()
    if options.scale_weight_norms:
        trainer.network.limit_norms(options.scale_weight_norms)
    trainer.schedule.step()
    trainer.optimizer.zero_grad()
    run.note(mean_loss, time.monotonic() - started, encoded=trainer.data.encoded > encoded)
    trainer.is_whole = True
    _tell_progress(trainer)


def _tell_progress(trainer: Trainer) -> None:
    """Tell of the step that was just trained, and once where steps have become slow."""
    run, steps = trainer.run, trainer.options.max_train_steps
    seconds_a_step = run.seconds_a_step
    trainer.events.emit(
        "progress",
        step=run.step,
        steps=steps,
        loss=round(run.loss, 6),
        smoothed_loss=round(run.smoothed_loss, 6),
        learning_rates=sorted({group["lr"] for group in trainer.optimizer.param_groups}),
        seconds_left=round(seconds_a_step * (steps - run.step), 1),
        seconds_a_step=round(seconds_a_step, 4) if run.is_timed else None,
    )
    if trainer.accelerator.device.type == "cuda" and run.slowdown > CRAWL:
        trainer.events.tell(crawling(run.slowdown))
        run.durations = []  # say it once


def batch_loss(trainer: Trainer, batch_index: int) -> torch.Tensor:
    """The loss of one batch."""
    accelerator = trainer.accelerator
    batch = trainer.data.batch(batch_index, accelerator.process_index, accelerator.num_processes)
    vae = trainer.checkpoint.vae
    is_encoded = trainer.data.is_encoded
    if is_encoded and not trainer.sample_steps and vae.device.type != "cpu":
        vae.to("cpu")
    scaling_factor = vae.config.scaling_factor
    latents = batch.latents.to(accelerator.device) * scaling_factor  # (B, 4, h, w)
    noised = trainer.objective.add_noise(latents, batch_index, batch.slots, batch.is_prior)
    text = trainer.caption_encoder.inputs(batch, accelerator.device)
    casts_itself = trainer.network.casts_itself
    # Recorded only once the autoencoder is through, for a recording keeps its memory.
    # What module_dropout leaves out differs from step to step, which no recording does.
    # Nor does one copy between GPU and main memory.
    copies = trainer.options.blocks_to_swap or trainer.options.cpu_offload_checkpointing
    is_same = is_encoded and not trainer.options.module_dropout and not copies
    is_replayed = casts_itself and is_same and accelerator.device.type == "cuda"
    denoise = trainer.replay if is_replayed else trainer.denoiser
    noisy, timesteps = noised.latents.to(trainer.dtype), noised.timesteps
    prior = None
    with nullcontext() if casts_itself else accelerator.autocast():
        if trainer.prior is not None:  # first, while nothing is kept for a backward pass
            prior = trainer.prior.predict(
                batch, batch_index, noisy, timesteps, is_replayed=is_replayed
            )
        prediction = denoise(noisy, timesteps, *text)
    return trainer.objective.loss(prediction, noised, batch.loss_weights, batch.masks, prior)
