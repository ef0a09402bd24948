"""Captions as the UNet reads them: token chunks through the text encoders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lib_rimo.inference.checkpoint import Checkpoint
from lib_rimo.training.dataset import Batch

CHUNK = 75  # tokens between the begin and end marks of CLIP's 77


@dataclass
class Conditioning:
    """Turns captions into the UNet's text inputs; frozen encoders read each caption once."""

    checkpoint: Checkpoint
    clip_skip: int = 1
    max_token_length: int = CHUNK
    trained: bool = True

    def __post_init__(self) -> None:
        self._read: dict[str, tuple[Tensor, Tensor | None]] = {}

    def __call__(self, batch: Batch, device: torch.device) -> dict[str, Any]:
        """The keyword arguments of the UNet for a batch: text (B, T, C), for SDXL also sizes."""
        if self.trained:
            hidden, pooled = self._encode(batch.captions)
        else:
            hidden, pooled = self._remembered(batch.captions)
        if pooled is None:
            return {"encoder_hidden_states": hidden}
        times = torch.cat([batch.original_sizes, batch.crop_top_lefts, batch.target_sizes], dim=1)
        added = {"text_embeds": pooled, "time_ids": times.to(device, hidden.dtype)}
        return {"encoder_hidden_states": hidden, "added_cond_kwargs": added}

    def _remembered(self, captions: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        for caption in captions:
            if caption not in self._read:
                with torch.no_grad():
                    hidden, pooled = self._encode([caption])
                self._read[caption] = (hidden[0], None if pooled is None else pooled[0])
        known = [self._read[caption] for caption in captions]
        pooled_rows = [pooled for _, pooled in known if pooled is not None]
        return (
            torch.stack([hidden for hidden, _ in known]),
            torch.stack(pooled_rows) if pooled_rows else None,
        )

    def _encode(self, captions: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        """(B, T, C) text states of all encoders side by side, and SDXL's pooled (B, P)."""
        states, pooled = [], None
        is_sdxl = self.checkpoint.family == "sdxl"
        for tokenizer, encoder in zip(
            self.checkpoint.tokenizers, self.checkpoint.text_encoders, strict=True
        ):
            tokens = self._tokens(tokenizer, captions).to(encoder.device)  # (B, n, 77)
            output = encoder(tokens.flatten(0, 1), output_hidden_states=True)
            if is_sdxl:  # both encoders count from the last layer but one, without a last norm
                hidden = output.hidden_states[-1 - self.clip_skip]
            elif self.clip_skip > 1:
                norm = getattr(encoder, "text_model", encoder).final_layer_norm
                hidden = norm(output.hidden_states[-self.clip_skip])
            else:
                hidden = output.last_hidden_state
            states.append(_join(hidden.unflatten(0, tokens.shape[:2])))
            if is_sdxl and "text_embeds" in output:
                pooled = output.text_embeds.unflatten(0, tokens.shape[:2])[:, 0]
        return torch.cat(states, dim=-1), pooled

    def _tokens(self, tokenizer: Any, captions: Sequence[str]) -> Tensor:
        """(B, chunks, 77): begin, 75 tokens, end; the last chunk padded as the model wants."""
        chunks = self.max_token_length // CHUNK
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
