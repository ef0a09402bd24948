"""A training that stands ready for its next step: models, pictures, network, optimizer."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from lib_rimo.messages import Message
from lib_rimo.sd.size import LATENT_PIXELS
from lib_rimo.training.caption_encoder import CaptionEncoder
from lib_rimo.training.config.options import TrainingOptions
from lib_rimo.training.data.dataset import TrainingSet
from lib_rimo.training.data.entries import short_list
from lib_rimo.training.denoiser import Denoiser, Replay
from lib_rimo.training.events import Events
from lib_rimo.training.metadata import Metadata
from lib_rimo.training.optimizers import make_optimizer, make_schedule
from lib_rimo.training.prior import Prior
from lib_rimo.training.run import Run
from lib_rimo.training.setup import (
    encode_with_vae,
    learning_rate_of,
    load_base_model,
    make_accelerator,
    make_network,
    make_objective,
    place_base_model,
    set_training_mode,
    up_ratio_of,
)

DTYPES = {
    "no": torch.float32,
    "float": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}


class Trainer:
    """One training: everything that stands ready, and the run's progress."""

    def __init__(
        self,
        options: TrainingOptions,
        events: Events,
        folder: Path,
    ) -> None:
        self.options = options
        self.events = events
        self.folder = folder
        self.run = Run()
        self.is_whole = True
        """Whether weights, optimizer and run are of one step; not while a step is taken over."""

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
        self.caption_encoder = CaptionEncoder(
            self.checkpoint,
            clip_skip=options.clip_skip,
            max_token_length=options.max_token_length,
            trained=bool(options.text_encoder_learning_rate),
            cached=options.cache_text_encoder_outputs,
        )
        if options.cache_text_encoder_outputs:  # while the UNet is still elsewhere
            captions = ("", *(entry.caption for entry in self.data.entries))
            self.caption_encoder.read_ahead(captions, self.accelerator.device)
        place_base_model(self.checkpoint, options, self.accelerator.device)
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
        if cut := self.caption_encoder.cut_captions(entry.caption for entry in self.data.entries):
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
        self.denoiser = Denoiser(self.caption_encoder, self.network.ranks)
        self.replay = Replay(self.denoiser, events.tell)
        self.prior: Prior | None = None
        if options.prior_passes:
            masking = self.objective.masking
            self.prior = Prior(self.caption_encoder, self.network, masking, events.tell)
