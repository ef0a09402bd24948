"""Trains the judge on drawings, and measures it on others."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional

from lib_rimo.base_model.autoencoder import as_pixels, as_tensor, decode_half, encode_half, halved
from lib_rimo.base_model.drawings import PORTRAIT, SQUARE
from lib_rimo.base_model.parallel import Worker
from lib_rimo.base_model.stage import Stage
from lib_rimo.demo.judge import CLASSES, GRADES, WEIGHTS, Judge, JudgeNetwork, true_class
from lib_rimo.demo.world import Attributes, Likeness, draw, sample_attributes
from lib_rimo.files import written_beside

PICTURES = 4800
SQUARE_SHARE = 6  # every sixth batch is square
BATCH = 40
EPOCHS = 12
LEARNING_RATE = 3e-3
SEED = 31


def sample_person(rng: np.random.Generator) -> Attributes:
    """Somebody of the world, or somebody with all, some or a little of rimochan's look."""
    attributes = sample_attributes(rng, flaws=0)
    kind = rng.integers(4)
    if kind == 0:  # features apart from one another
        features = rng.choice([0.0, 1.0, float(rng.random())], 4)
    elif kind == 1:
        features = np.ones(4)
    else:
        return attributes
    return dataclasses.replace(attributes, likeness=Likeness(*map(float, features)))


def draw_people(
    count: int, seed: int, size: tuple[int, int]
) -> tuple[NDArray[np.uint8], list[Attributes], list[float]]:
    """Pictures (N, H, W, 3) with their truth and how detailed their backgrounds are."""
    pixels, truths, details = [], [], []
    for index in range(count):
        rng = np.random.default_rng((seed, index))
        truth = sample_person(rng)
        drawing = draw(truth, size, rng)
        pixels.append(np.asarray(drawing.image))
        truths.append(truth)
        details.append(drawing.detail)
    return np.stack(pixels), truths, details


def answers(truths: list[Attributes], details: list[float]) -> tuple[Tensor, Tensor]:
    """Class indices (N, 6), -1 where nothing can be seen, and grades (N, 5)."""
    classes = [
        [
            -1
            if name == "pose" and truth.framing != "full body"
            else words.index(true_class(truth, name))
            for name, words in CLASSES.items()
        ]
        for truth in truths
    ]
    grades = [
        [
            min(detail, 1.0),
            truth.likeness.hair,
            truth.likeness.tips,
            truth.likeness.eyes,
            truth.likeness.ornament,
        ]
        for truth, detail in zip(truths, details, strict=True)
    ]
    return torch.tensor(classes), torch.tensor(grades)


def judge_loss(outputs: tuple[Tensor, ...], classes: Tensor, grades: Tensor) -> Tensor:
    """Cross-entropy of every class and grade."""
    *logits, graded = outputs
    loss = len(GRADES) * functional.binary_cross_entropy_with_logits(graded, grades)
    for column, logit in enumerate(logits):
        loss = loss + functional.cross_entropy(logit, classes[:, column], ignore_index=-1)
    return loss


def disturbed(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """Slightly noisy, blurred, shifted or tinted, as a model's pictures may be."""
    pictures = torch.roll(pictures, (int(rng.integers(-4, 5)), int(rng.integers(-4, 5))), (2, 3))
    if rng.random() < 0.5:
        pictures = pictures.flip(3)
    if rng.random() < 0.3:
        pictures = functional.avg_pool2d(pictures, 3, stride=1, padding=1, count_include_pad=False)
    tint = 1 + 0.06 * torch.randn(len(pictures), 3, 1, 1)
    noise = float(rng.uniform(0, 0.12))
    return pictures * tint + noise * torch.randn_like(pictures)


@torch.no_grad()
def _reconstructed(autoencoder: AutoencoderKL, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pictures (N, H, W, 3) that have gone through the autoencoder at half the size."""
    with torch.autocast("cpu", torch.bfloat16):
        small = decode_half(autoencoder, encode_half(autoencoder, halved(pixels)).mode())
    return as_pixels(functional.interpolate(small.float(), scale_factor=2, mode="bilinear"))


def _batches(stage: Stage, autoencoder: AutoencoderKL) -> list[dict[str, Any]]:
    """All training batches; half of them have gone through the autoencoder."""
    kept = stage.load("batches")
    if kept is not None:
        batches: list[dict[str, Any]] = kept["batches"]
        return batches
    batches = []
    for number in stage.steps(0, PICTURES // BATCH):
        size = SQUARE if number % SQUARE_SHARE == 0 else PORTRAIT
        pixels, truths, details = draw_people(BATCH, SEED + number, size)
        if number % 2:
            pixels = _reconstructed(autoencoder, pixels)
        classes, grades = answers(truths, details)
        batches.append({"pixels": pixels, "classes": classes, "grades": grades})
    stage.save({"batches": batches}, "batches")
    return batches


def train_judge(
    worker: Worker, stage: Stage, autoencoder: AutoencoderKL, path: Path = WEIGHTS
) -> None:
    """Train the judge, unless that is done, and write its weights in half precision."""
    if stage.has("final"):
        return
    torch.manual_seed(SEED)
    network = JudgeNetwork()
    parameters = list(network.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=0.02)
    if worker.leads:
        _batches(stage, autoencoder)
    worker.wait()
    batches = _batches(stage, autoencoder)[worker.rank :: worker.count]
    total = EPOCHS * len(batches)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=total)
    order: list[int] = []
    for step in stage.steps(0, total, visible=worker.leads):
        rng = np.random.default_rng((SEED, step, worker.rank))
        torch.manual_seed(step * worker.count + worker.rank)
        if step % len(batches) == 0:
            order = rng.permutation(len(batches)).tolist()
        batch = batches[order[step % len(batches)]]
        outputs = network(disturbed(as_tensor(batch["pixels"]), rng))
        loss = judge_loss(outputs, batch["classes"], batch["grades"])
        torch.autograd.backward(loss)
        worker.average_gradients(parameters)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if worker.leads and (step + 1) % 20 == 0:
            stage.log(step=step + 1, loss=loss.item())
    if worker.leads:
        content = save({key: _halved(value) for key, value in network.state_dict().items()})
        with written_beside(path) as beside:
            beside.write_bytes(content)
        stage.save({"steps": total}, "final")
    worker.wait()


def _halved(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor


def measure_judge(judge: Judge, count: int = 500, seed: int = 987654) -> dict[str, float]:
    """Accuracy on drawings that it never saw, and the mean errors of its grades."""
    pixels, truths, details = draw_people(count, seed, PORTRAIT)
    verdicts = judge(pixels)
    right: dict[str, list[bool]] = {name: [] for name in CLASSES}
    for verdict, truth in zip(verdicts, truths, strict=True):
        for name, agrees in verdict.agrees(truth).items():
            right[name].append(agrees)
    measured = {name: float(np.mean(values)) for name, values in right.items()}
    measured["detail_error"] = float(
        np.mean([abs(v.detail - min(d, 1.0)) for v, d in zip(verdicts, details, strict=True)])
    )
    measured["identity_error"] = float(
        np.mean([abs(v.identity - t.likeness.score) for v, t in zip(verdicts, truths, strict=True)])
    )
    return measured
