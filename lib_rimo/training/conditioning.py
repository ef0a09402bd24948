"""Captions as the UNet reads them: token chunks through the text encoders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lib_rimo.sd.checkpoint import Checkpoint
from lib_rimo.training.data.dataset import Batch

CHUNK = 75  # tokens between the begin and end marks of CLIP's 77


@dataclass
class Conditioning:
    """Turns captions into the UNet's text inputs; frozen encoders read each caption once.

    In two parts: `inputs` makes tensors of a batch, `read` computes with nothing but tensors, so
    that a GPU can record it.
    """

    checkpoint: Checkpoint
    clip_skip: int = 1
    max_token_length: int = CHUNK
    trained: bool = True

    def __post_init__(self) -> None:
        self._is_sdxl = self.checkpoint.family == "sdxl"
        self._remembered: dict[str, tuple[Tensor, ...]] = {}

    def inputs(self, batch: Batch, device: torch.device) -> tuple[Tensor, ...]:
        """What `read` takes for a batch.

        Tokens (B, n, 77) for each encoder if they are trained, else what they say: states
        (B, T, C) and SDXL's pooled (B, P). For SDXL also sizes and crops, (B, 6), at the end.
        """
        if self.trained:
            text = self._tokens(batch.captions)
        else:
            rows = [self._remember(caption, device) for caption in batch.captions]
            text = tuple(torch.cat(column) for column in zip(*rows, strict=True))
        if self._is_sdxl:
            sizes = (batch.original_sizes, batch.crop_top_lefts, batch.target_sizes)
            text = (*text, torch.cat(sizes, dim=1))
        return tuple(tensor.to(device) for tensor in text)

    def read(self, *inputs: Tensor) -> dict[str, Any]:
        """The keyword arguments of the UNet: text (B, T, C), for SDXL also sizes."""
        text, sizes = (inputs[:-1], inputs[-1]) if self._is_sdxl else (inputs, None)
        states, *pooled = self._encode(text) if self.trained else text
        if sizes is None:
            return {"encoder_hidden_states": states}
        added = {"text_embeds": pooled[0], "time_ids": sizes.to(states.dtype)}
        return {"encoder_hidden_states": states, "added_cond_kwargs": added}

    def _remember(self, caption: str, device: torch.device) -> tuple[Tensor, ...]:
        if caption not in self._remembered:
            with torch.no_grad():
                tokens = [tensor.to(device) for tensor in self._tokens([caption])]
                self._remembered[caption] = self._encode(tokens)
        return self._remembered[caption]

    def _encode(self, tokens: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """(B, T, C) text states of all encoders side by side, and SDXL's pooled (B, P)."""
        states, pooled = [], []
        for ids, encoder in zip(tokens, self.checkpoint.text_encoders, strict=True):
            output = encoder(ids.flatten(0, 1), output_hidden_states=True)
            if self._is_sdxl:  # both count from the last layer but one, without a last norm
                hidden = output.hidden_states[-1 - self.clip_skip]
            elif self.clip_skip > 1:
                norm = getattr(encoder, "text_model", encoder).final_layer_norm
                hidden = norm(output.hidden_states[-self.clip_skip])
            else:
                hidden = output.last_hidden_state
            states.append(_join(hidden.unflatten(0, ids.shape[:2])))
            if self._is_sdxl and "text_embeds" in output:
                pooled.append(output.text_embeds.unflatten(0, ids.shape[:2])[:, 0])
        return (torch.cat(states, dim=-1), *pooled)

    def _tokens(self, captions: Sequence[str]) -> tuple[Tensor, ...]:
        return tuple(
            tokenize(tokenizer, captions, self.max_token_length // CHUNK)
            for tokenizer in self.checkpoint.tokenizers
        )


def tokenize(tokenizer: Any, captions: Sequence[str], chunks: int) -> Tensor:
    """(B, chunks, 77): begin, 75 tokens, end; the last chunk padded as the model wants."""
    begin, end, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    rows = []
    for caption in captions:
        words = tokenizer(caption, add_special_tokens=False, verbose=False).input_ids
        words = words[: chunks * CHUNK]
        row = []
        for start in range(0, chunks * CHUNK, CHUNK):
            part = words[start : start + CHUNK]
            row.append([begin, *part, end, *[pad] * (CHUNK - len(part))])
        rows.append(row)
    return torch.tensor(rows)


def _join(states: Tensor) -> Tensor:
    """Join chunks (B, n, 77, C) to (B, 75 n + 2, C): one begin and one end mark in all.

    So kohya's trainer does for captions over 75 tokens.
    """
    inner = states[:, :, 1:-1].flatten(1, 2)
    return torch.cat([states[:, 0, :1], inner, states[:, -1, -1:]], dim=1)
