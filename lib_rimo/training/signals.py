"""How a LoRA does while it trains, without drawing: fit and drift of each saved step.

Both go by what the UNet predicts for the same noised pictures with the LoRA and without: fit by how
much nearer it comes to the truth on captions of the training pictures, drift by how far it moves on
captions that are not about them. After the loss at fixed noise and timesteps of DVAR (Voronov et
al. 2023, arXiv:2302.04841).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lib_rimo.messages import Message
from lib_rimo.sd.schedule import shares
from lib_rimo.training.data.dataset import Batch
from lib_rimo.training.denoiser import Denoiser
from lib_rimo.training.trainer import Trainer

PICTURES = 6
FIT_TIMESTEP = 250
"""Where what is learned of a character shows; 100 and 500 rank the steps of three LoRAs alike."""
DRIFT_TIMESTEP = 800  # little of the picture is left, so the caption decides
OTHER_CAPTIONS = (
    "1girl, solo, standing, outdoors",
    "1girl, solo, sitting, school uniform, indoors, classroom",
    "1girl, solo, standing, t-shirt, outdoors, beach",
    "1girl, solo, maid, maid headdress, outdoors, night",
)
MOST_TIME = 0.05  # of the training's


@dataclass(frozen=True)
class Signal:
    """What a saved step is worth.

    `fit`: the share of the base model's error on the training pictures that is gone, 0 to 1.
    `drift`: how far predictions on other captions moved; 1 is as far as the caption moves them.
    """

    step: int
    fit: float
    drift: float

    @property
    def worth(self) -> float:
        """More fit is better, and the less the more drifts."""
        return self.fit / (1 + max(self.drift, 0.0))


class Signals:
    """Measures a trainer's LoRA; of the base model's predictions each is computed once."""

    def __init__(self, trainer: Trainer, clock: Callable[[], float] = time.monotonic) -> None:
        self._trainer, self._clock = trainer, clock
        self._base: _Predictions | None = None
        self._spent = 0.0
        self._last = 0.0
        self._first_step = trainer.run.step

    def is_affordable(self) -> bool:
        """Whether measuring keeps within its share of the training's time so far."""
        run = self._trainer.run
        trained = (run.step - self._first_step) * run.seconds_a_step
        return self._spent + (self._last or self._expected()) <= MOST_TIME * trained

    def measure(self) -> Signal:
        """Fit and drift of the LoRA as it is; nothing that training depends on is touched."""
        began = self._clock()
        pictures, others = self._batches()
        if self._base is None:
            self._base = self._predict_base(pictures, others)
        base = self._base
        with _evaluating(self._trainer.denoiser):
            fit = 1 - self._error(self._predict(pictures, FIT_TIMESTEP), pictures) / base.error
            moved = self._predict(others, DRIFT_TIMESTEP) - base.others
            drift = moved.square().mean().item() / base.caption
        self._last = self._clock() - began
        self._spent += self._last
        return Signal(self._trainer.run.step, round(fit, 4), round(drift, 4))

    def _expected(self) -> float:
        """Seconds that the first time takes: a step is about three passes over a batch."""
        passes = 2 * PICTURES + 3 * len(OTHER_CAPTIONS)
        return self._trainer.run.seconds_a_step * passes / (3 * self._trainer.data.batch_size)

    def _batches(self) -> tuple[Batch, Batch]:
        """Training pictures with their captions, and some of the same with other captions.

        Of one size: pictures of another bucket are left out.
        """
        data, found = self._trainer.data, list[Batch]()
        for step in range(data.steps_per_epoch()):
            batch = data.batch(step)
            if not found or batch.latents.shape[2:] == found[0].latents.shape[2:]:
                found.append(batch)
            if sum(len(part.captions) for part in found) >= PICTURES:
                break
        pictures = _joined(found, PICTURES)
        others = _joined(found, len(OTHER_CAPTIONS))
        captions = list(OTHER_CAPTIONS[: len(others.captions)])
        return pictures, dataclasses.replace(others, captions=captions)

    def _predict_base(self, pictures: Batch, others: Batch) -> _Predictions:
        trainer = self._trainer
        caption_encoder = trainer.caption_encoder.untrained()
        bare = Denoiser(caption_encoder)
        with trainer.network.off(), _evaluating(bare):
            error = self._error(self._predict(pictures, FIT_TIMESTEP, bare), pictures)
            moved = self._predict(others, DRIFT_TIMESTEP, bare)
            nothing = dataclasses.replace(others, captions=[""] * len(others.captions))
            without = self._predict(nothing, DRIFT_TIMESTEP, bare)
        return _Predictions(error, moved, (moved - without).square().mean().item())

    @torch.no_grad()
    def _predict(self, batch: Batch, timestep: int, denoiser: Denoiser | None = None) -> Tensor:
        """(B, C, h, w), of the batch noised as far as a timestep, always by the same noise."""
        trainer = self._trainer
        denoiser = denoiser or trainer.denoiser
        device = trainer.accelerator.device
        noisy, _ = self._noised(batch, timestep)
        text = denoiser.caption_encoder.inputs(batch, device)
        timesteps = torch.full((len(noisy),), timestep, device=device)
        autocast = trainer.accelerator.autocast
        with nullcontext() if trainer.network.casts_itself else autocast():
            prediction: Tensor = denoiser(noisy.to(trainer.dtype), timesteps, *text)
        return prediction.float()

    def _noised(self, batch: Batch, timestep: int) -> tuple[Tensor, Tensor]:
        """Noised latents and the target, (B, C, h, w) each."""
        trainer = self._trainer
        scaling_factor = trainer.checkpoint.vae.config.scaling_factor
        latents = batch.latents.to(trainer.accelerator.device) * scaling_factor
        generator = torch.Generator().manual_seed(timestep)
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        signal, strength = shares(trainer.objective.alphas_cumprod[timestep].to(latents))
        is_v = trainer.objective.prediction_type == "v_prediction"
        target = signal * noise - strength * latents if is_v else noise
        return signal * latents + strength * noise, target

    def _error(self, prediction: Tensor, batch: Batch) -> float:
        _, target = self._noised(batch, FIT_TIMESTEP)
        error = (prediction - target).square()
        if batch.masks is not None:
            error = error * self._trainer.objective.masking.inside(batch.masks.to(error))
        return error.mean().item()


@dataclass(frozen=True)
class _Predictions:
    """The base model's: its error on the training pictures, and what it says of other captions."""

    error: float
    others: Tensor  # (B, C, h, w)
    caption: float
    """How far other captions move what it says, mean square."""


def best_of(signals: Sequence[Signal]) -> Signal | None:
    """The step that serves best by its signals; None where there are none to choose from."""
    return max(signals, key=lambda signal: signal.worth) if len(signals) > 1 else None


def reason_of(best: Signal, last: Signal) -> Message:
    """Why a step serves best, beside the last one."""
    if best.step == last.step:
        return Message(
            "By fit ({fit}) and drift ({drift}) the last step serves best of those saved.",
            level="note",
            fit=f"{best.fit:.2f}",
            drift=f"{best.drift:.2f}",
        )
    return Message(
        "Step {step} serves best of those saved: it has {fit} of the last step's fit with {drift} "
        "of its drift.",
        level="note",
        step=best.step,
        fit=f"{best.fit / last.fit:.0%}",
        drift=f"{best.drift / last.drift:.0%}",
    )


def _joined(batches: Sequence[Batch], most: int) -> Batch:
    """The first pictures of some batches of one size as one batch."""

    def rows(name: str) -> list[object]:
        return [row for batch in batches for row in getattr(batch, name)][:most]

    def stacked(name: str) -> Tensor:
        return torch.cat([getattr(batch, name) for batch in batches])[:most]

    has_masks = all(batch.masks is not None for batch in batches)
    tensors = ["latents", "loss_weights", "original_sizes", "crop_top_lefts", "target_sizes"]
    tensors += ["masks"] if has_masks else []
    lists = ["captions", "is_prior", "slots", "pictures"]
    joined: dict[str, object] = {name: stacked(name) for name in tensors}
    joined |= {name: rows(name) for name in lists}
    return dataclasses.replace(batches[0], **joined)  # type: ignore[arg-type]


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Within it the model has no dropout; afterwards every part is as it was."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, is_training in modes.items():
            module.training = is_training
