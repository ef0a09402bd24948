"""CLIP's byte-pair tokenizer, made offline.

`merges.txt` holds the 48,894 merges that OpenAI's CLIP uses (MIT, see LICENSE beside it);
the vocabulary follows from them.
"""

from functools import cache
from pathlib import Path

from transformers import CLIPTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"


@cache
def _merges() -> tuple[str, ...]:
    return tuple((Path(__file__).parent / "merges.txt").read_text("utf-8").splitlines())


def _byte_symbols() -> list[str]:
    """One printable character for each byte, printable bytes first, as in GPT-2's encoder."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    others = (chr(256 + n) for n in range(256 - len(printable)))
    return [chr(byte) for byte in printable] + list(others)


@cache
def vocabulary() -> dict[str, int]:
    """CLIP's 49,408 tokens and their ids."""
    symbols = _byte_symbols()
    tokens = symbols + [symbol + "</w>" for symbol in symbols]
    tokens += [merge.replace(" ", "") for merge in _merges()]
    tokens += [START, END]
    return {token: number for number, token in enumerate(tokens)}


def clip_tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer for 77 tokens: `<|startoftext|>`, 75 tokens, `<|endoftext|>`."""
    merges = [tuple(merge.split(" ")) for merge in _merges()]
    return CLIPTokenizer(vocab=vocabulary(), merges=merges, model_max_length=77)


def pad_with_zero(tokenizer: CLIPTokenizer) -> CLIPTokenizer:
    """The tokenizer padding with token 0, as OpenCLIP's models do.

    Token 0 is `!`. Naming it as pad token at construction would make it a special token, and
    every `!` of a prompt would become token 0 instead of `!</w>`.
    """
    tokenizer.pad_token_id = 0
    return tokenizer
