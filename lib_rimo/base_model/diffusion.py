"""Trains the base model's UNet and text encoders together on cached latents.

The UNet starts from nothing, the text encoder from what it learned of words (`words`). Noise
prediction with min-SNR weighting (Hang et al. 2023), an averaged copy of the weights, a learning
rate that warms up, stays, and falls to zero over the last steps (so that training can go on from
before the fall). The first phase learns from latents of half the size, four times as fast.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from lib_rimo.base_model.autoencoder import as_pixels
from lib_rimo.base_model.drawings import PORTRAIT
from lib_rimo.base_model.latents import CHUNK, SQUARE_EVERY, Chunk, load_chunk, tokenize
from lib_rimo.base_model.networks import Networks, make_checkpoint
from lib_rimo.base_model.parallel import Worker
from lib_rimo.base_model.sampling import as_sheet, draw_latents
from lib_rimo.base_model.stage import Stage
from lib_rimo.demo.world import caption, complaints, sample_attributes
from lib_rimo.sd.checkpoint import Checkpoint
from lib_rimo.sd.family import Family
from lib_rimo.sd.schedule import TIMESTEPS, NoiseSchedule, shares

LEARNING_RATE = 1e-3
WARM_UP = 200
AVERAGING = 0.999
CAPTION_DROPOUT = 0.12
COMPLAINTS_SHARE = 0.4  # of the dropped captions that become a negative prompt's list, not nothing
SNR_GAMMA = 5.0
# Added to the clean picture's weight, min(SNR, SNR_GAMMA). Where nearly all is noise, only the
# words tell what to draw; by its SNR alone that part of the training would weigh next to nothing.
WORDS_WEIGHT, MOST_WEIGHT = 0.2, 10.0
SEED = 21


@dataclass(frozen=True)
class Phase:
    """A stretch of training: its latents' size, and how its pool of chunks grows."""

    steps: int
    batch: int  # a process
    shrink: int  # latents are averaged down this many times
    chunks: int  # in a process's pool from the start
    chunk_every: int  # steps after which another chunk joins
    decay: int = 0  # last steps, in which the learning rate falls to zero
    learning_rate: float = LEARNING_RATE
    warm_up: int = WARM_UP
    noisiness: int = 1  # timesteps are the highest of so many: where noise rules, the words count


class Pool:
    """One process's cached chunks of one size; batches come from one shape at a time."""

    def __init__(self, worker: Worker, stage: Stage, autoencoder: AutoencoderKL) -> None:
        self.worker, self.stage, self.autoencoder = worker, stage, autoencoder
        self.chunks: list[Chunk] = []

    def grow(self, count: int) -> None:
        """Make or load chunks until there are `count`."""
        while len(self.chunks) < count:
            # Interleaved so that each process has its own drawings and its share of squares.
            turn, place = divmod(len(self.chunks), SQUARE_EVERY)
            number = (turn * self.worker.count + self.worker.rank) * SQUARE_EVERY + place
            self.chunks.append(load_chunk(self.stage, self.autoencoder, number))

    def batch(self, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        """Latents (B, 4, h, w) drawn from their distributions, and tokens (B, 77)."""
        picked = [self.chunks[rng.integers(len(self.chunks))]]
        shape = picked[0].mean.shape
        alike = [chunk for chunk in self.chunks if chunk.mean.shape == shape]
        picked += [alike[rng.integers(len(alike))] for _ in range(count - 1)]
        latents, tokens = [], []
        for chunk in picked:
            index = int(rng.integers(CHUNK))
            mean, deviation = chunk.mean[index].float(), chunk.deviation[index].float()
            latents.append(mean + deviation * torch.randn(mean.shape))
            tokens.append(chunk.tokens[index, int(rng.integers(chunk.tokens.shape[1]))])
        return torch.stack(latents), torch.stack(tokens).long()


def learning_rate(phase: Phase, step: int, since_start: int) -> float:
    """Warm-up, plateau, decay to zero (1 - sqrt, Hägele et al. 2024)."""
    rate = phase.learning_rate * min(1.0, (since_start + 1) / phase.warm_up)
    left = phase.steps - step
    if phase.decay and left <= phase.decay:
        rate *= 1 - (1 - left / phase.decay) ** 0.5
    return rate


def diffusion_loss(
    networks: Networks,
    schedule: NoiseSchedule,
    latents: Tensor,
    tokens: Tensor,
    noisiness: int = 1,
) -> Tensor:
    """Noise prediction error; neither nearly clean pictures nor nearly pure noise dominate."""
    noise = torch.randn_like(latents)
    timesteps = torch.randint(TIMESTEPS, (noisiness, len(latents))).amax(dim=0)
    alphas = schedule.alphas_cumprod[timesteps]
    signal, strength = shares(alphas)
    noisy = signal * latents + strength * noise
    error = (networks(noisy, timesteps, tokens) - noise).square().mean(dim=(1, 2, 3))
    snr = alphas / (1 - alphas)
    weight = ((snr.clamp(max=SNR_GAMMA) + WORDS_WEIGHT) / snr).clamp(max=MOST_WEIGHT)
    loss: Tensor = (error * weight).mean()
    return loss


def train_diffusion(
    worker: Worker,
    stage: Stage,
    words: Stage,
    latents: Stage,
    autoencoder: AutoencoderKL,
    phases: Sequence[Phase],
    family: Family = "sd1",
) -> None:
    """Train through all phases, or go on where the state stands.

    The networks start from the stage's state `start`, if there is one; the first text encoder from
    what it has learned of words, if it has.
    """
    torch.manual_seed(SEED)
    networks = Networks(family)
    if family == "sdxl":  # transplanted: they know the words, and the UNet has to find itself
        networks.text_encoders.requires_grad_(False)
    before = 0  # steps that the networks have had
    if begun := stage.load("start"):
        networks.load_state_dict(begun["networks"])
        before = begun["steps"]
    if learned := words.load("final"):
        networks.text_encoders[0].load_state_dict(learned["encoder"])
    averaged = copy.deepcopy(networks)
    trained = [parameter for parameter in networks.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0.01, fused=True
    )
    position = {"phase": 0, "step": 0, "total": before}
    if state := _last_state(stage, phases):
        networks.load_state_dict(state["networks"])
        averaged.load_state_dict(state["averaged"])
        optimizer.load_state_dict(state["optimizer"])
        position = state["position"]
    nothing = _without_a_caption()
    schedule = NoiseSchedule()
    for number, phase in enumerate(phases):
        start = position["step"] if number == position["phase"] else 0
        if number < position["phase"] or start >= phase.steps:
            continue
        pool = Pool(worker, latents, autoencoder)
        pool.grow(phase.chunks + start // phase.chunk_every)
        worker.wait()
        losses: list[float] = []
        for step in stage.steps(start, phase.steps, visible=worker.leads):
            total = position["total"] + 1
            rng = np.random.default_rng((SEED, total, worker.rank))
            torch.manual_seed(total * worker.count + worker.rank)
            pictures, tokens = pool.batch(rng, phase.batch)
            pictures = functional.avg_pool2d(pictures, phase.shrink)
            dropped = torch.rand(phase.batch) < CAPTION_DROPOUT
            tokens[dropped] = nothing[torch.randint(len(nothing), (int(dropped.sum()),))]
            loss = diffusion_loss(networks, schedule, pictures, tokens, phase.noisiness)
            worker.descend(optimizer, loss, learning_rate(phase, step, total - before))
            update_average(averaged, networks, total - before)
            losses.append(loss.item())
            position = {"phase": number, "step": step + 1, "total": total}
            if (step + 1) % phase.chunk_every == 0:
                pool.grow(len(pool.chunks) + 1)
            if worker.leads and total % 50 == 0:
                stage.log(
                    step=total, loss=float(np.mean(losses)), rate=optimizer.param_groups[0]["lr"]
                )
                losses.clear()
            begins_decay = step + 1 == phase.steps - phase.decay
            if worker.leads and (total % 50 == 0 or begins_decay or step + 1 == phase.steps):
                state = {
                    "networks": networks.state_dict(),
                    "averaged": averaged.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "position": position,
                    "planned": phase.steps,
                }
                stage.save(state)
                if begins_decay:
                    stage.save(state, "before-decay")
            if worker.leads and total % 200 == 0:
                preview(stage, averaged, autoencoder, phase.shrink, total)


def _without_a_caption() -> Tensor:
    """(N, 77) tokens of empty captions and of lists of complaints, in their shares."""
    rng = np.random.default_rng(SEED)
    count = 100
    lists = [complaints(rng) for _ in range(round(count * COMPLAINTS_SHARE))]
    return tokenize(lists + [""] * (count - len(lists))).long()


def update_average(averaged: nn.Module, networks: nn.Module, steps: int) -> None:
    """Move the averaged weights towards the present ones, after so many steps."""
    keep = min(AVERAGING, (steps + 1) / (steps + 10))
    with torch.no_grad():
        for mean, present in zip(averaged.parameters(), networks.parameters(), strict=True):
            mean.lerp_(present, 1 - keep)


def _last_state(stage: Stage, phases: Sequence[Phase]) -> dict[str, Any] | None:
    """The state to go on from.

    If the state lies in the decay of another plan, that is the one before that decay.
    """
    state = stage.load()
    before = stage.load("before-decay")
    if state and before:
        planned = state.get("planned")
        if planned == before.get("planned") != phases[state["position"]["phase"]].steps:
            return before
    return state


def trained_checkpoint(
    stage: Stage, autoencoder: AutoencoderKL, family: Family = "sd1"
) -> Checkpoint:
    """The model with averaged weights as it stands in the state file, or as it starts."""
    networks = Networks(family)
    if state := stage.load():
        networks.load_state_dict(state["averaged"])
    elif begun := stage.load("start"):
        networks.load_state_dict(begun["networks"])
    else:
        raise FileNotFoundError(f"no state in {stage.folder}: train first")
    return make_checkpoint(networks, autoencoder)


def preview(
    stage: Stage, networks: Networks, autoencoder: AutoencoderKL, shrink: int, total: int
) -> None:
    """Write a sheet of 16 pictures of fixed captions and seeds."""
    rng = np.random.default_rng(SEED)
    captions = [caption(sample_attributes(rng, flaws=0), rng) for _ in range(16)]
    size = (PORTRAIT[0] // shrink, PORTRAIT[1] // shrink)
    checkpoint = make_checkpoint(networks, autoencoder)
    with torch.no_grad():
        latents = draw_latents(checkpoint, captions, range(16), steps=12, size=size)
        pictures = as_pixels(checkpoint.vae.decode(latents).sample)
    Image.fromarray(as_sheet(pictures, 8)).save(stage.folder / f"preview-{total:06d}.png")
    (stage.folder / "preview.txt").write_text("\n".join(captions))
