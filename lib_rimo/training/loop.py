"""The training loop: from a job's options to a LoRA file.

The loop knows no architecture: the checkpoint brings the UNet and the text encoders,
`CaptionEncoder` the text, `Objective` target and loss, `Network` what is trained.
"""

from __future__ import annotations

from pathlib import Path

from lib_rimo.messages import Message
from lib_rimo.training.config.options import TrainingOptions
from lib_rimo.training.events import Command, Events
from lib_rimo.training.optimizers import find_optimizer
from lib_rimo.training.processes import TakeCommands, shared_commands
from lib_rimo.training.run import is_due
from lib_rimo.training.saving import (
    delete_old,
    measure,
    name_best,
    restore,
    sample,
    save_lora,
    save_state,
)
from lib_rimo.training.signals import Signals
from lib_rimo.training.state import is_finished, read_state
from lib_rimo.training.step import train_step
from lib_rimo.training.trainer import Trainer
from lib_rimo.training.validation import validate


class StoppedError(Exception):
    """The training was asked to stop; what it had learned is saved."""


def train(
    options: TrainingOptions,
    events: Events,
    *,
    folder: Path,
    take_commands: TakeCommands = set,
    resume: bool = False,
) -> Path:
    """Train a LoRA and return its file.

    State to go on from is kept in `folder`. Raises StoppedError when asked to stop, and UserError
    for what the user can mend; in both cases the last good LoRA is in `output_dir`.
    """
    validate(options)
    find_optimizer(options)  # which has to take its arguments, before gigabytes are read
    lora = Path(options.output_dir) / f"{options.output_name}.safetensors"
    state = read_state(folder, events.tell) if resume else None
    if state is not None and lora.exists() and is_finished(options, state):
        events.tell(nothing_to_do(options, lora))
        return lora
    trainer = Trainer(options, events, folder)
    if resume:
        restore(trainer, state)
    run, signals = trainer.run, Signals(trainer)
    events.emit("phase", phase="training", step=run.step, steps=options.max_train_steps)
    if options.sample_at_first and run.step == 0:
        sample(trainer)
    while run.step < options.max_train_steps:
        try:
            train_step(trainer)
        except KeyboardInterrupt:  # a second Ctrl+C, by somebody who will not wait for the step
            leave(trainer)
        if run.step < options.max_train_steps:
            serve(trainer, shared_commands(trainer.accelerator, take_commands), signals)
    return finish(trainer, signals)


def nothing_to_do(options: TrainingOptions, lora: Path) -> Message:
    """What to tell of a run that is to go on and has ended."""
    return Message(
        "{name} is finished, in {file}. To train on from it, give another output_name and "
        "network_weights {file}; to start again over it, --overwrite instead of --resume.",
        level="note",
        name=options.output_name,
        file=lora,
    )


def serve(trainer: Trainer, commands: set[Command], signals: Signals) -> None:
    """Between steps: save and draw what is due or asked for; raises StoppedError."""
    options, step = trainer.options, trainer.run.step
    if is_due(step, options.save_every_n_steps) or is_due(
        step, options.save_every_n_epochs * trainer.steps_per_epoch
    ):
        save_lora(trainer, f"-step{step:08d}")
        delete_old(trainer)
        measure(trainer, signals)
    if "sample" in commands or is_due(step, trainer.sample_steps):
        sample(trainer)
    if commands & {"save", "stop"}:
        save_lora(trainer)
    if commands & {"save", "stop"} or is_due(step, options.save_state_every_n_steps):
        save_state(trainer)
    if "stop" in commands:
        raise StoppedError


def leave(trainer: Trainer) -> None:
    """Out of the middle of a step: save what the steps before it gave; raises StoppedError."""
    if not (trainer.run.step and trainer.is_whole):
        raise KeyboardInterrupt
    save_lora(trainer)
    save_state(trainer)
    raise StoppedError


def finish(trainer: Trainer, signals: Signals) -> Path:
    """After the last step: the LoRA, the state, samples; returns the LoRA file."""
    path = save_lora(trainer)
    if trainer.run.signals and measure(trainer, signals):
        name_best(trainer)
    save_state(trainer)
    if trainer.sample_steps:
        sample(trainer)
    trainer.network.detach()
    return path
