"""The training loop: from a job's options to a LoRA file.

The loop knows no architecture: the checkpoint brings the UNet and the text encoders,
`Conditioning` the text, `Objective` target and loss, `Network` what is trained.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from lib_rimo.errors import UserError
from lib_rimo.lora.files import write_lora
from lib_rimo.messages import Message
from lib_rimo.sd.size import LATENT_PIXELS
from lib_rimo.training import state as run_state
from lib_rimo.training.conditioning import Conditioning
from lib_rimo.training.config.options import TrainingOptions
from lib_rimo.training.data.dataset import TrainingSet
from lib_rimo.training.data.entries import short_list
from lib_rimo.training.denoiser import Denoiser, Replay
from lib_rimo.training.events import COMMANDS, Command, Events
from lib_rimo.training.metadata import Metadata
from lib_rimo.training.optimizers import (
    find_optimizer,
    is_schedule_free,
    make_optimizer,
    make_schedule,
)
from lib_rimo.training.prior import Prior
from lib_rimo.training.samples import draw_samples
from lib_rimo.training.setup import (
    encode_with_vae,
    learning_rate_of,
    load_base_model,
    make_accelerator,
    make_network,
    make_objective,
    set_training_mode,
    up_ratio_of,
)
from lib_rimo.training.validation import validate

DTYPES = {
    "no": torch.float32,
    "float": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}
SMOOTHING = 0.95  # of the loss shown: a single step's loss says little, it depends on the timestep

ENOUGH_STEPS = 10  # to tell how long one takes
CRAWL = 8.0  # times slower all of a sudden: what a GPU gives that keeps its data elsewhere

TakeCommands = Callable[[], set[Command]]


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
    trainer = Trainer(options, events, folder, take_commands)
    if resume:
        trainer.restore()
    run = trainer.run
    events.emit("phase", phase="training", step=run.step, steps=options.max_train_steps)
    if options.sample_at_first and run.step == 0:
        trainer.sample()
    while run.step < options.max_train_steps:
        trainer.step()
        if run.step < options.max_train_steps:
            trainer.serve()
    return trainer.finish()


@dataclass
class Run:
    """What changes while training, beside the weights."""

    step: int = 0
    loss: float = math.nan
    smoothed_loss: float = math.nan
    seconds: float = math.nan  # of the last step
    durations: list[float] = field(default_factory=list)
    """Seconds of the last steps in which nothing was encoded: those to come are like them."""

    def note(self, loss: float, seconds: float, *, encoded: bool = False) -> None:
        """Take down a finished step, in which pictures were `encoded` too or not."""
        self.step += 1
        self.loss = loss
        previous = loss if math.isnan(self.smoothed_loss) else self.smoothed_loss
        self.smoothed_loss = SMOOTHING * previous + (1 - SMOOTHING) * loss
        self.seconds = seconds
        if not encoded:
            self.durations = [*self.durations[-49:], seconds]

    @property
    def seconds_a_step(self) -> float:
        """What a step takes, by the last ones."""
        return statistics.median(self.durations or [self.seconds])

    @property
    def is_timed(self) -> bool:
        """Whether enough steps are known to tell what one takes."""
        return len(self.durations) >= ENOUGH_STEPS

    @property
    def slowdown(self) -> float:
        """How many times longer the last steps took than those before; 1 where few are known."""
        recent, before = self.durations[-5:], self.durations[:-5]
        if len(before) < 10:
            return 1.0
        return statistics.median(recent) / statistics.median(before)


class Trainer:
    """One training: everything that stands ready, and the run's progress."""

    def __init__(
        self,
        options: TrainingOptions,
        events: Events,
        folder: Path,
        take_commands: TakeCommands = set,
    ) -> None:
        self.options = options
        self.events = events
        self.take_commands = take_commands
        self.commands: set[Command] = set()  # given and not yet obeyed
        self.state_path = folder / "state.pt"
        self.run = Run()

        self.accelerator = make_accelerator(options, events.tell)
        self.dtype = DTYPES[self.accelerator.mixed_precision]
        events.emit("phase", phase="loading the base model")
        self.checkpoint = load_base_model(options, self.accelerator.device, self.dtype, events.tell)
        if options.clip_skip > 1 and self.checkpoint.family != "sd1":
            events.tell(
                Message(
                    "clip_skip {n} changes nothing: it is for SD1 models only.",
                    about="clip_skip",
                    level="warning",
                    n=options.clip_skip,
                )
            )
        options.resolution = options.resolution or str(
            self.checkpoint.unet.config.sample_size * LATENT_PIXELS
        )

        events.emit("phase", phase="looking at the pictures")
        self.data = TrainingSet.from_options(options)
        summary = self.data.summary(self.accelerator.num_processes)
        events.emit("data", summary=[message.text() for message in summary.notes()])
        for message in summary.warnings():
            events.tell(message)
        # As in kohya's trainer an epoch's last batches make a step, however few they are.
        self.steps_per_epoch = -(-summary.steps_per_epoch // options.gradient_accumulation_steps)
        if options.max_train_epochs:
            options.max_train_steps = options.max_train_epochs * self.steps_per_epoch
        self.sample_steps = (
            options.sample_every_n_epochs * self.steps_per_epoch or options.sample_every_n_steps
        )
        encode_with_vae(self.checkpoint, self.data, options)

        torch.manual_seed(options.seed)  # where the network starts
        self.network = make_network(self.checkpoint, options)
        groups = self.network.parameter_groups(
            learning_rate_of(self.network, options), up_ratio_of(self.network, options)
        )
        self.parameters: list[nn.Parameter] = [
            parameter for group in groups for parameter in group["params"]
        ]
        optimizer = make_optimizer(options, groups, events.tell)
        self.schedule = make_schedule(options, optimizer, options.max_train_steps)
        self.optimizer = self.accelerator.prepare(optimizer)
        self.conditioning = Conditioning(
            self.checkpoint,
            clip_skip=options.clip_skip,
            max_token_length=options.max_token_length,
            trained=bool(options.text_encoder_learning_rate),
        )
        if cut := self.conditioning.cut_captions(entry.caption for entry in self.data.entries):
            names = [entry.path for entry in self.data.entries if entry.caption in cut]
            events.tell(
                Message(
                    "Longer than max_token_length {length}, so the end of the caption is not "
                    "read: {names}.",
                    level="warning",
                    about="max_token_length",
                    length=options.max_token_length,
                    names=short_list(names),
                )
            )
        self.objective = make_objective(self.checkpoint, options)
        self.metadata = Metadata(
            options,
            self.checkpoint,
            summary.metadata,
            self.accelerator.num_processes,
        )
        set_training_mode(self.checkpoint, options)
        self.denoiser = Denoiser(self.conditioning, self.network.ranks)
        self.replay = Replay(self.denoiser, events.tell)
        self.prior: Prior | None = None
        if options.prior_passes:
            masking = self.objective.masking
            self.prior = Prior(self.conditioning, self.network, masking, events.tell)

    def take(self) -> None:
        """Look for new commands."""
        self.commands |= shared_commands(self.accelerator, self.take_commands)

    def step(self) -> None:
        """Train one step: forward and backward for each batch, then the optimizer."""
        started, encoded = time.monotonic(), self.data.encoded
        accelerator = self.accelerator
        accumulation = self.options.gradient_accumulation_steps
        # Dropout is all that uses the global generator.
        torch.manual_seed(
            (self.options.seed << 32) + self.run.step * 1024 + accelerator.process_index
        )
        loss = torch.zeros((), device=accelerator.device)
        for batch_index in range(self.run.step * accumulation, (self.run.step + 1) * accumulation):
            part = self.forward(batch_index) / accumulation
            accelerator.backward(part)
            loss += part.detach()
        average_gradients(accelerator, self.parameters)
        if self.options.max_grad_norm:
            accelerator.clip_grad_norm_(self.parameters, self.options.max_grad_norm)
        mean_loss = accelerator.reduce(loss, "mean").item()
        if not math.isfinite(mean_loss):
            raise not_finite(Message("loss"))
        self.optimizer.step()
        if self.options.scale_weight_norms:
            self.network.limit_norms(self.options.scale_weight_norms)
        self.schedule.step()
        self.optimizer.zero_grad()

        seconds = time.monotonic() - started
        self.run.note(mean_loss, seconds, encoded=self.data.encoded > encoded)
        seconds_a_step = self.run.seconds_a_step
        self.events.emit(
            "progress",
            step=self.run.step,
            steps=self.options.max_train_steps,
            loss=round(mean_loss, 6),
            smoothed_loss=round(self.run.smoothed_loss, 6),
            learning_rates=sorted({group["lr"] for group in self.optimizer.param_groups}),
            seconds_left=round(seconds_a_step * (self.options.max_train_steps - self.run.step), 1),
            seconds_a_step=round(seconds_a_step, 4) if self.run.is_timed else None,
        )
        if accelerator.device.type == "cuda" and self.run.slowdown > CRAWL:
            self.events.tell(crawling(self.run.slowdown))
            self.run.durations = []  # say it once

    def forward(self, batch_index: int) -> torch.Tensor:
        """The loss of one batch."""
        accelerator = self.accelerator
        batch = self.data.batch(batch_index, accelerator.process_index, accelerator.num_processes)
        vae = self.checkpoint.vae
        is_encoded = self.data.is_encoded
        if is_encoded and not self.sample_steps and vae.device.type != "cpu":
            vae.to("cpu")
        scaling_factor = vae.config.scaling_factor
        latents = batch.latents.to(accelerator.device) * scaling_factor  # (B, 4, h, w)
        noised = self.objective.add_noise(latents, batch_index, batch.slots, batch.is_prior)
        text = self.conditioning.inputs(batch, accelerator.device)
        casts_itself = self.network.casts_itself
        # Recorded only once the autoencoder is through, for a recording keeps its memory.
        # What module_dropout leaves out differs from step to step, which no recording does.
        is_same = is_encoded and not self.options.module_dropout
        is_replayed = casts_itself and is_same and accelerator.device.type == "cuda"
        denoise = self.replay if is_replayed else self.denoiser
        noisy, timesteps = noised.latents.to(self.dtype), noised.timesteps
        prior = None
        with nullcontext() if casts_itself else accelerator.autocast():
            if self.prior is not None:  # first, while nothing is kept for a backward pass
                prior = self.prior.predict(
                    batch, batch_index, noisy, timesteps, is_replayed=is_replayed
                )
            prediction = denoise(noisy, timesteps, *text)
        return self.objective.loss(prediction, noised, batch.loss_weights, batch.masks, prior)

    def serve(self) -> None:
        """Between steps: save and draw what is due or asked for; raises StoppedError."""
        options, step = self.options, self.run.step
        self.take()
        commands, self.commands = self.commands, set()
        if is_due(step, options.save_every_n_steps) or is_due(
            step, options.save_every_n_epochs * self.steps_per_epoch
        ):
            self.save_lora(f"-step{step:08d}")
            self.delete_old()
        if "sample" in commands or is_due(step, self.sample_steps):
            self.sample()
        if commands & {"save", "stop"}:
            self.save_lora()
        if commands & {"save", "stop"} or is_due(step, options.save_state_every_n_steps):
            self.save_state()
        if "stop" in commands:
            raise StoppedError

    def delete_old(self) -> None:
        """Delete the LoRAs of this name that save_last_n_* do not ask to keep."""
        options, step = self.options, self.run.step
        epochs = options.save_every_n_epochs * self.steps_per_epoch
        old = []
        # As in kohya's trainer steps count back from this one, epochs by the files.
        if options.save_last_n_steps and is_due(step, every := options.save_every_n_steps):
            old.append((step - options.save_last_n_steps - 1) // every * every)
        if options.save_last_n_epochs and is_due(step, epochs):
            old.append(step - options.save_last_n_epochs * epochs)
        for number in old:
            if number > 0 and self.accelerator.is_main_process:
                name = f"{options.output_name}-step{number:08d}.safetensors"
                (Path(options.output_dir) / name).unlink(missing_ok=True)

    def finish(self) -> Path:
        """After the last step: samples, the LoRA, the state; returns the LoRA's file."""
        if self.sample_steps:
            self.sample()
        path = self.save_lora()
        self.save_state()
        self.network.detach()
        return path

    def save_lora(self, suffix: str = "") -> Path:
        """Write the LoRA as it is now; raises UserError rather than write what is no number."""
        name = f"{self.options.output_name}{suffix}.safetensors"
        path = Path(self.options.output_dir) / name
        if not self.accelerator.is_main_process:
            return path
        with weights_to_use(self.optimizer):
            tensors = self.network.tensors(DTYPES[self.options.save_precision])
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise not_finite(Message("weights"))
        epoch = self.run.step // self.steps_per_epoch
        metadata = self.metadata.at(self.run.step, epoch, self.run.smoothed_loss)
        write_lora(path, tensors, metadata)
        self.events.emit("saved", path=str(path), step=self.run.step)
        return path

    def sample(self) -> None:
        """Draw the sample prompts with the LoRA as it is now."""
        if not self.accelerator.is_main_process:
            return
        captions = [entry.caption for entry in self.data.entries]
        with weights_to_use(self.optimizer), self.accelerator.autocast():
            for path in draw_samples(
                self.checkpoint, self.options, self.run.step, captions, self.events.tell
            ):
                self.events.emit("sample", path=str(path), step=self.run.step)

    def save_state(self) -> None:
        """Write what a killed run needs to go on."""
        if not self.accelerator.is_main_process:
            return
        state: dict[str, Any] = {
            "identity": run_state.identity(self.options, self.data),
            "run": [self.run.step, self.run.loss, self.run.smoothed_loss],
        }
        for name, part in self._stateful():
            state[name] = part.state_dict()
        run_state.save_state(self.state_path, state)

    def restore(self) -> None:
        """Go on from the saved state, if there is one; UserError where it is another run's."""
        state = run_state.load_state(self.state_path)
        if state is None:
            none = "There is no saved state to go on from: the training begins at its start."
            self.events.tell(Message(none, level="warning"))
            return
        run_state.check_identity(state["identity"], run_state.identity(self.options, self.data))
        for name, part in self._stateful():
            part.load_state_dict(state[name])
        self.run = Run(*state["run"])
        self.events.emit("resumed", step=self.run.step)

    def _stateful(self) -> list[tuple[str, Any]]:
        parts = [
            ("network", self.network),
            ("optimizer", self.optimizer),
            ("schedule", self.schedule),
        ]
        scaler = self.accelerator.scaler
        return parts if scaler is None else [*parts, ("scaler", scaler)]


def average_gradients(accelerator: Accelerator, parameters: list[nn.Parameter]) -> None:
    """Give all processes the mean of their gradients, in one exchange."""
    if accelerator.num_processes == 1:
        return
    gradients = [
        torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for parameter in parameters
    ]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    flat = accelerator.reduce(flat, "mean")
    position = 0
    for parameter in parameters:
        size = parameter.numel()
        parameter.grad = flat[position : position + size].view_as(parameter)
        position += size


def shared_commands(accelerator: Accelerator, take_commands: TakeCommands) -> set[Command]:
    """The commands that the first process was given, the same for all."""
    commands = take_commands() if accelerator.is_main_process else set()
    if accelerator.num_processes == 1:
        return commands
    flags = torch.tensor([float(name in commands) for name in COMMANDS], device=accelerator.device)
    given = accelerator.reduce(flags, "sum").tolist()
    return {name for name, flag in zip(COMMANDS, given, strict=True) if flag}


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


def is_due(step: int, every: int) -> bool:
    """Whether something done every so many steps is due after this one; 0 is never."""
    return every > 0 and step % every == 0


def not_finite(what: Message) -> UserError:
    """What a run ends with that lost its numbers."""
    return UserError(
        "The {what} became infinite or not a number, so the training was stopped and the last "
        "good file kept: halve the learning rates, or use mixed_precision bf16 or no.",
        what=what,
    )


def crawling(times: float) -> Message:
    """What to tell of a run that has become many times slower."""
    return Message(
        "Steps suddenly take {n} times as long: mostly the GPU's memory is full and the "
        "driver, as on Windows, goes on in the machine's own. Close other programs that use the "
        "GPU, or stop and resume with gradient_checkpointing.",
        level="warning",
        n=f"{times:.0f}",
    )
