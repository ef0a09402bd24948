"""Captions as the UNet reads them: token chunks through the text encoders."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lib_rimo.sd.checkpoint import Checkpoint
from lib_rimo.sd.text_encoding import CHUNK_LENGTH, encode_chunks, framed, tokens_of
from lib_rimo.training.data.dataset import Batch

MOST_REMEMBERED = 512
"""Captions; shuffled ones hardly ever come again. SDXL's take 320 KB each in half precision."""


@dataclass
class CaptionEncoder:
    """Turns captions into the UNet's text inputs; frozen encoders read each caption once.

    In two parts: `inputs` makes tensors of a batch, `read` computes with nothing but tensors, so
    that a GPU can record it.
    """

    checkpoint: Checkpoint
    clip_skip: int = 1
    max_token_length: int = CHUNK_LENGTH
    trained: bool = True
    cached: bool = False
    """Whether frozen encoders stay in main memory but while they read."""

    def __post_init__(self) -> None:
        self._is_sdxl = self.checkpoint.family == "sdxl"
        self._remembered: dict[str, tuple[Tensor, ...]] = {}

    def untrained(self) -> CaptionEncoder:
        """The same for text encoders whose LoRA is off."""
        return dataclasses.replace(self, trained=False)

    def inputs(self, batch: Batch, device: torch.device) -> tuple[Tensor, ...]:
        """What `read` takes for a batch.

        Tokens (B, n, 77) for each encoder if they are trained, else what they say: states
        (B, T, C) and SDXL's pooled (B, P). For SDXL also sizes and crops, (B, 6), at the end.
        """
        if self.trained:
            text = self._tokens(batch.captions)
        else:
            self.read_ahead(batch.captions, device)
            rows = [self._remember(caption, device) for caption in batch.captions]
            text = tuple(torch.cat(column) for column in zip(*rows, strict=True))
        if self._is_sdxl:
            sizes = (batch.original_sizes, batch.crop_top_lefts, batch.target_sizes)
            text = (*text, torch.cat(sizes, dim=1))
        return tuple(tensor.to(device) for tensor in text)

    def cut_captions(self, captions: Iterable[str]) -> set[str]:
        """Those of which the end is not read, because they have too many tokens."""
        tokenizer = self.checkpoint.tokenizers[0]  # all of CLIP's cut words alike
        return {
            caption
            for caption in captions
            if len(tokens_of(tokenizer, caption)) > self.max_token_length
        }

    def read(self, *inputs: Tensor) -> dict[str, Any]:
        """The keyword arguments of the UNet: text (B, T, C), for SDXL also sizes."""
        text, sizes = (inputs[:-1], inputs[-1]) if self._is_sdxl else (inputs, None)
        states, *pooled = self._encode(text) if self.trained else text
        if sizes is None:
            return {"encoder_hidden_states": states}
        # In bf16 sizes would be rounded: 999 to 1000.
        added = {"text_embeds": pooled[0], "time_ids": sizes.float()}
        return {"encoder_hidden_states": states, "added_cond_kwargs": added}

    def read_ahead(self, captions: Iterable[str], device: torch.device) -> None:
        """Have frozen encoders read captions on this device, each but once."""
        new = [caption for caption in dict.fromkeys(captions) if caption not in self._remembered]
        if new:
            with self.at_hand(device):
                for caption in new[:MOST_REMEMBERED]:
                    self._remember(caption, device)

    @contextmanager
    def at_hand(self, device: torch.device) -> Iterator[None]:
        """Within it encoders that are kept in main memory are on the device."""
        encoders: list[Any] = self.checkpoint.text_encoders if self.cached else []
        for encoder in encoders:
            encoder.to(device)
        try:
            yield
        finally:
            for encoder in encoders:
                encoder.to("cpu")

    def _remember(self, caption: str, device: torch.device) -> tuple[Tensor, ...]:
        if caption not in self._remembered:
            if len(self._remembered) == MOST_REMEMBERED:
                del self._remembered[next(iter(self._remembered))]
            with torch.no_grad():
                tokens = [tensor.to(device) for tensor in self._tokens([caption])]
                states = self._encode(tokens)
                # As many as there are captions: not in the memory that is to be spared.
                kept = tuple(state.cpu() for state in states) if self.cached else states
                self._remembered[caption] = kept
        return self._remembered[caption]

    def _encode(self, tokens: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """(B, T, C) text states of all encoders side by side, and SDXL's pooled (B, P)."""
        states, pooled = [], []
        for ids, encoder in zip(tokens, self.checkpoint.text_encoders, strict=True):
            chunks, summary = encode_chunks(self.checkpoint.family, encoder, ids, self.clip_skip)
            states.append(_join(chunks))
            if summary is not None:
                pooled.append(summary)
        return (torch.cat(states, dim=-1), *pooled)

    def _tokens(self, captions: Sequence[str]) -> tuple[Tensor, ...]:
        return tuple(
            tokenize(tokenizer, captions, self.max_token_length // CHUNK_LENGTH)
            for tokenizer in self.checkpoint.tokenizers
        )


def tokenize(tokenizer: Any, captions: Sequence[str], chunks: int) -> Tensor:
    """(B, chunks, 77): start, 75 tokens, end; what does not fit is cut off."""
    starts = range(0, chunks * CHUNK_LENGTH, CHUNK_LENGTH)
    rows = []
    for caption in captions:
        tokens = tokens_of(tokenizer, caption)
        rows.append([framed(tokenizer, tokens[at : at + CHUNK_LENGTH]) for at in starts])
    return torch.tensor(rows)


def _join(states: Tensor) -> Tensor:
    """Join chunks (B, n, 77, C) to (B, 75 n + 2, C): one begin and one end mark in all.

    So kohya's trainer does for captions over 75 tokens.
    """
    inner = states[:, :, 1:-1].flatten(1, 2)
    return torch.cat([states[:, 0, :1], inner, states[:, -1, -1:]], dim=1)
