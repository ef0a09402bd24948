"""How the text encoders read a text: the one way of training and drawing.

Which layer is read, and so what clip_skip does, goes by the family:

- SD1: clip_skip counts from the end, 1 being the last layer. The final norm follows, as in kohya's
  trainer, AUTOMATIC1111's WebUI and Forge.
- SD2: the last layer but one, with the final norm, as it was trained. AUTOMATIC1111 knows no clip
  skip for it and kohya's trainer warns of one, so here it changes nothing. (kohya's trainer and
  Forge would count on from that layer.)
- SDXL: the last layer but one of both encoders, without a norm. kohya's trainer ignores clip_skip,
  the WebUIs do up to 2.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import ftfy
from torch import Tensor
from transformers import CLIPTokenizer

from lib_rimo.errors import UserError
from lib_rimo.sd.family import Family
from lib_rimo.sd.text_encoders import TextEncoder
from lib_rimo.sd.tokenizer import END, START

CHUNK_LENGTH = 75
"""Tokens of CLIP's 77 positions without the start and the end mark."""

_MARKS = re.compile(f"({re.escape(START)}|{re.escape(END)})")


def clean_text(text: str) -> str:
    """A text as the original tokenizer of CLIP cleans it, which its fast twin leaves out.

    Full-width letters and commas, curly quotes, ligatures, HTML entities and mangled encodings
    become what they stand for (ftfy). kohya's trainer, AUTOMATIC1111 and Forge all have the
    tokenizer that does so. OpenCLIP's, which AUTOMATIC1111 reads SD2's and half of SDXL's prompts
    with, does the same, but for entities in a text that also has a `<`.
    """
    parts = _MARKS.split(text)
    return "".join(part if _MARKS.fullmatch(part) else ftfy.fix_text(part) for part in parts)


def tokens_of(tokenizer: CLIPTokenizer, text: str) -> list[int]:
    """The tokens of a text, however many, without marks and padding."""
    ids: list[int] = tokenizer(clean_text(text), add_special_tokens=False, verbose=False).input_ids
    return ids


def framed(tokenizer: CLIPTokenizer, tokens: Sequence[int]) -> list[int]:
    """Up to 75 tokens as the 77 that an encoder reads: start, tokens, end, padding."""
    padding = [tokenizer.pad_token_id] * (CHUNK_LENGTH - len(tokens))
    return [tokenizer.bos_token_id, *tokens, tokenizer.eos_token_id, *padding]


def encode_tokens(
    family: Family, encoder: TextEncoder, tokens: Tensor, clip_skip: int = 1
) -> tuple[Tensor, Tensor | None]:
    """(N, 77) tokens -> their states (N, 77, C), and the summary (N, P) of an encoder with one.

    Raises UserError where SD1's encoder has fewer layers than clip_skip.
    """
    output = encoder(tokens, output_hidden_states=True)
    if family == "sdxl":
        return output.hidden_states[-2], getattr(output, "text_embeds", None)
    if family == "sd2" or clip_skip == 1:  # SD2's encoder is loaded without its last layer
        return output.last_hidden_state, None
    if clip_skip >= len(output.hidden_states):
        layers = len(output.hidden_states) - 1
        raise UserError(
            "clip_skip is {clip_skip}: this model's text encoder has {layers} layers.",
            clip_skip=clip_skip,
            layers=layers,
        )
    norm = getattr(encoder, "text_model", encoder).final_layer_norm
    states: Tensor = norm(output.hidden_states[-clip_skip])
    return states, None


def encode_chunks(
    family: Family, encoder: TextEncoder, tokens: Tensor, clip_skip: int = 1
) -> tuple[Tensor, Tensor | None]:
    """(B, n, 77) tokens -> states (B, n, 77, C); the summary (B, P) is that of the first chunk."""
    states, summary = encode_tokens(family, encoder, tokens.flatten(0, 1), clip_skip)
    batch, number, _ = tokens.shape
    if summary is not None:
        summary = summary.reshape(batch, number, -1)[:, 0]
    return states.reshape(batch, number, *states.shape[1:]), summary
