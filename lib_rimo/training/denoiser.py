"""The model that a training step runs, as one function of tensors, and its replay on a GPU."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any, cast

import torch
from torch import Tensor, nn

from lib_rimo.messages import Message, Tell
from lib_rimo.training.caption_encoder import CaptionEncoder
from lib_rimo.training.network.layers import TimestepRanks

CALLS_BEFORE = 3  # plain calls of a shape: recording takes seconds, so it has to come again
MOST_RECORDINGS = 8  # buckets of different sizes; each recording keeps a little memory


class Denoiser(nn.Module):
    """The text encoders and the UNet: noised latents and what was said of them to a prediction."""

    def __init__(self, caption_encoder: CaptionEncoder, ranks: TimestepRanks | None = None) -> None:
        super().__init__()
        self.caption_encoder, self.ranks = caption_encoder, ranks
        self.unet = caption_encoder.checkpoint.unet
        self.text_encoders = nn.ModuleList(caption_encoder.checkpoint.text_encoders)

    def forward(self, latents: Tensor, timesteps: Tensor, *text: Tensor) -> Tensor:
        """Noised latents (B, 4, h, w), timesteps (B,), `CaptionEncoder.inputs` -> (B, 4, h, w)."""
        if self.ranks is not None:  # here, so that a recording has it too
            self.ranks.follow(timesteps)
        prediction: Tensor = self.unet(
            latents, timesteps, **self.caption_encoder.read(*text)
        ).sample
        return prediction


class Replay:
    """Calls a denoiser on a GPU, from some calls on by replaying what it did.

    A step starts thousands of kernels; a fast GPU is done with each before Python has started the
    next. Recorded as CUDA graphs, one forward and one backward for each shape of the inputs, they
    start at once. Weights are read where they lie, so trained ones may change in place.
    """

    def __init__(self, denoiser: Denoiser, tell: Tell) -> None:
        self.denoiser, self.tell = denoiser, tell
        self._parameters = [p for p in denoiser.parameters() if p.requires_grad]
        self._calls: Counter[tuple[torch.Size, ...]] = Counter()
        self._recordings: dict[tuple[torch.Size, ...], nn.Module] = {}
        self._pool: Any = None  # of memory, shared: one recording at a time is replayed
        self._gave_up = False

    def __call__(self, latents: Tensor, timesteps: Tensor, *text: Tensor) -> Tensor:
        """As the denoiser's."""
        inputs = (latents, timesteps, *text)
        shapes = tuple(tensor.shape for tensor in inputs)
        self._calls[shapes] += 1
        known = self._recordings.get(shapes)
        if known is None and self._may_record(shapes):
            known = self._record(shapes, inputs)
        if known is not None:
            self._save_gradients()
        return cast(Tensor, (known or self.denoiser)(*inputs))

    def _save_gradients(self) -> None:
        """Move what was added up so far out of a replay's way.

        It writes gradients where the last ones lie, and PyTorch takes a parameter's first as it is.
        """
        for parameter in self._parameters:
            if parameter.grad is not None:
                parameter.grad = parameter.grad.clone()

    def _may_record(self, shapes: tuple[torch.Size, ...]) -> bool:
        is_full = len(self._recordings) == MOST_RECORDINGS
        return not (self._gave_up or is_full) and self._calls[shapes] > CALLS_BEFORE

    def _record(
        self, shapes: tuple[torch.Size, ...], inputs: tuple[Tensor, ...]
    ) -> nn.Module | None:
        # A module of its own for each shape, over the same parts: recording replaces its forward.
        module = Denoiser(self.denoiser.caption_encoder, self.denoiser.ranks)
        module.train(self.denoiser.training)
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        torch.cuda.empty_cache()  # what plain steps worked in is not what recordings may use
        try:
            with warnings.catch_warnings():  # of its own trial runs' streams
                warnings.filterwarnings("ignore", message="The AccumulateGrad node's stream")
                torch.cuda.make_graphed_callables(
                    module,
                    tuple(tensor.clone() for tensor in inputs),
                    allow_unused_input=True,
                    pool=self._pool,
                )
        except RuntimeError as error:
            self._gave_up = True
            self.tell(
                Message(
                    "Steps are not recorded on this GPU and take a little longer: {error}",
                    level="note",
                    error=error,
                )
            )
            return None
        self._recordings[shapes] = module
        return module
