"""Trains the judge on pictures whose truth is known, and measures it on drawings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional

from lib_rimo.base_model.autoencoder import as_tensor
from lib_rimo.base_model.drawings import PORTRAIT
from lib_rimo.base_model.judge_pictures import BATCH, SEED, Batch, draw_people, make_batch
from lib_rimo.base_model.parallel import Worker
from lib_rimo.base_model.stage import Stage
from lib_rimo.demo.judge import CLASSES, GRADES, WEIGHTS, Judge, JudgeNetwork, true_identity
from lib_rimo.files import written_beside
from lib_rimo.sd.checkpoint import Checkpoint

PICTURES = 6000
EPOCHS = 10
LEARNING_RATE = 3e-3


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


def _batches(stage: Stage, checkpoint: Checkpoint) -> list[Batch]:
    kept = stage.load("batches")
    if kept is None:
        batches = [make_batch(checkpoint, number) for number in stage.steps(0, PICTURES // BATCH)]
        kept = {"batches": [batch._asdict() for batch in batches]}
        stage.save(kept, "batches")
    return [Batch(**batch) for batch in kept["batches"]]


def train_judge(worker: Worker, stage: Stage, checkpoint: Checkpoint, path: Path = WEIGHTS) -> None:
    """Train the judge, unless that is done, and write its weights in half precision."""
    if stage.has("final"):
        return
    torch.manual_seed(SEED)
    network = JudgeNetwork()
    parameters = list(network.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=0.02)
    if worker.leads:
        _batches(stage, checkpoint)
    worker.wait()
    batches = _batches(stage, checkpoint)[worker.rank :: worker.count]
    total = EPOCHS * len(batches)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=total)
    order: list[int] = []
    for step in stage.steps(0, total, visible=worker.leads):
        rng = np.random.default_rng((SEED, step, worker.rank))
        torch.manual_seed(step * worker.count + worker.rank)
        if step % len(batches) == 0:
            order = rng.permutation(len(batches)).tolist()
        batch = batches[order[step % len(batches)]]
        outputs = network(disturbed(as_tensor(batch.pixels), rng))
        loss = judge_loss(outputs, batch.classes, batch.grades)
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
    pixels, truths, details, _ = draw_people(count, seed, PORTRAIT)
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
        np.mean([abs(v.identity - true_identity(t)) for v, t in zip(verdicts, truths, strict=True)])
    )
    return measured
