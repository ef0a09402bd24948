"""What a training leaves: LoRA files, samples drawn with them, the state to go on from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from lib_rimo.lora.files import write_lora
from lib_rimo.messages import Message
from lib_rimo.training.network.network import Parameters
from lib_rimo.training.optimizers import is_schedule_free
from lib_rimo.training.run import Run, is_due, not_finite
from lib_rimo.training.samples import draw_samples
from lib_rimo.training.signals import Signal, Signals, best_of, reason_of
from lib_rimo.training.state import (
    check_identity,
    identity,
    is_sound,
    other_run,
    write_state,
)
from lib_rimo.training.trainer import DTYPES, Trainer


def save_lora(trainer: Trainer, suffix: str = "") -> Path:
    """Write the LoRA as it is now; raises UserError rather than write what is no number."""
    name = f"{trainer.options.output_name}{suffix}.safetensors"
    path = Path(trainer.options.output_dir) / name
    if not trainer.accelerator.is_main_process:
        return path
    with weights_to_use(trainer.optimizer):
        tensors = trainer.network.tensors(DTYPES[trainer.options.save_precision])
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise not_finite(Message("weights"))
    epoch = trainer.run.step // trainer.steps_per_epoch
    metadata = trainer.metadata.at(trainer.run.step, epoch, trainer.run.smoothed_loss)
    write_lora(path, tensors, metadata)
    trainer.events.emit("saved", path=str(path), step=trainer.run.step)
    return path


def delete_old(trainer: Trainer) -> None:
    """Delete the LoRAs of this name that save_last_n_* do not ask to keep."""
    options, step = trainer.options, trainer.run.step
    epochs = options.save_every_n_epochs * trainer.steps_per_epoch
    old = []
    # As in kohya's trainer steps count back from this one, epochs by the files.
    if options.save_last_n_steps and is_due(step, every := options.save_every_n_steps):
        old.append((step - options.save_last_n_steps - 1) // every * every)
    if options.save_last_n_epochs and is_due(step, epochs):
        old.append(step - options.save_last_n_epochs * epochs)
    for number in old:
        if number > 0 and trainer.accelerator.is_main_process:
            name = f"{options.output_name}-step{number:08d}.safetensors"
            (Path(options.output_dir) / name).unlink(missing_ok=True)


def sample(trainer: Trainer) -> None:
    """Draw the sample prompts with the LoRA as it is now; what cannot be drawn is told of."""
    if not trainer.accelerator.is_main_process:
        return
    captions = [entry.caption for entry in trainer.data.entries]
    options, run, events = trainer.options, trainer.run, trainer.events
    at_hand = trainer.caption_encoder.at_hand(trainer.accelerator.device)
    with weights_to_use(trainer.optimizer), trainer.accelerator.autocast(), at_hand:
        for path in draw_samples(trainer.checkpoint, options, run.step, captions, events.tell):
            events.emit("sample", path=str(path), step=run.step)


def measure(trainer: Trainer, signals: Signals) -> bool:
    """Tell fit and drift of the step that was just saved; False where there is no time for it."""
    if not trainer.accelerator.is_main_process or not signals.is_affordable():
        return False
    with weights_to_use(trainer.optimizer):
        signal = signals.measure()
    trainer.run.signals.append((signal.step, signal.fit, signal.drift))
    trainer.events.emit("signal", step=signal.step, fit=signal.fit, drift=signal.drift)
    return True


def name_best(trainer: Trainer) -> None:
    """Tell which of the saved steps that are still there serves best, and why."""
    options, last = trainer.options, trainer.run.step
    files = {
        step: Path(options.output_dir)
        / f"{options.output_name}{'' if step == last else f'-step{step:08d}'}.safetensors"
        for step, _, _ in trainer.run.signals
    }
    known = [Signal(*one) for one in trainer.run.signals if files[one[0]].exists()]
    best = best_of(known)
    if best is not None:
        message = reason_of(best, known[-1])
        path = str(files[best.step])
        trainer.events.emit("best", step=best.step, path=path, **message.as_json())


def save_state(trainer: Trainer) -> None:
    """Write what a killed run needs to go on; UserError rather than write what is no number."""
    if not trainer.accelerator.is_main_process:
        return
    state: dict[str, Any] = {
        "identity": identity(trainer.options, trainer.data),
        "run": [trainer.run.step, trainer.run.loss, trainer.run.smoothed_loss],
        "signals": trainer.run.signals,
    }
    for name, part in _stateful(trainer):
        state[name] = part.state_dict()
    if not (is_sound(state["network"], infinite=False) and is_sound(state["optimizer"])):
        raise not_finite(Message("weights"))  # before the last state is replaced that was well
    write_state(trainer.folder, state)


def restore(trainer: Trainer, state: dict[str, Any] | None) -> None:
    """Go on from the saved state, if there is one; UserError where it is another run's."""
    if state is None:
        none = "There is no saved state to go on from: the training begins at its start."
        trainer.events.tell(Message(none, level="warning"))
        return
    current = identity(trainer.options, trainer.data)
    changed = check_identity(state["identity"], current, trainer.options)
    rates = [group["initial_lr"] for group in trainer.optimizer.param_groups]
    if len(rates) != len(state["optimizer"]["param_groups"]):  # a rate of 0 trains no such part
        raise other_run(changed)
    for name, part in _stateful(trainer):
        if name in state:
            part.load_state_dict(state[name])
    trainer.run = Run(*state["run"])
    trainer.run.signals = [tuple(one) for one in state.get("signals", [])]
    if changed:
        _set_rates(trainer, rates)
        trainer.events.tell(
            Message(
                "The training goes on with other {names}: what comes out is not what one with the "
                "same settings from its start gives.",
                level="note",
                names=changed,
            )
        )
    trainer.events.emit("resumed", step=trainer.run.step)


def _set_rates(trainer: Trainer, rates: list[float]) -> None:
    """Let the learning rates follow the same course as before from other beginnings."""
    for group, rate in zip(trainer.optimizer.param_groups, rates, strict=True):
        group["lr"] *= rate / group["initial_lr"] if group["initial_lr"] else 1.0
        group["initial_lr"] = rate
    trainer.schedule.base_lrs = [*rates]


def _stateful(trainer: Trainer) -> list[tuple[str, Any]]:
    parts = [
        ("network", Parameters(trainer.network)),
        ("optimizer", trainer.optimizer),
        ("schedule", trainer.schedule),
    ]
    scaler = trainer.accelerator.scaler
    return parts if scaler is None else [*parts, ("scaler", scaler)]


@contextmanager
def weights_to_use(optimizer: Any) -> Iterator[None]:
    """Within it the weights are those to use, where a schedule-free optimizer trains others."""
    if not is_schedule_free(getattr(optimizer, "optimizer", optimizer)):
        yield
        return
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    trained = [parameter.detach().clone() for parameter in parameters]
    optimizer.eval()
    try:
        yield
    finally:
        optimizer.train()
        with torch.no_grad():  # to the bit: going there and back rounds
            for parameter, value in zip(parameters, trained, strict=True):
                parameter.copy_(value)
