"""Prompts as AUTOMATIC1111's WebUI reads them: emphasis, BREAK, prompt editing, long prompts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import CLIPTokenizer

from lib_rimo.sd.checkpoint import Checkpoint
from lib_rimo.sd.text_encoding import CHUNK_LENGTH, encode_tokens, framed, tokens_of

# A comma that close to a chunk's end takes what follows it along into the next chunk.
COMMA_BACKTRACK = 20
ROUND_BRACKET, SQUARE_BRACKET = 1.1, 1 / 1.1


@dataclass(frozen=True)
class Piece:
    """Text with its emphasis; weight None is a BREAK, which begins a new chunk."""

    text: str
    weight: float | None = 1.0


# -- emphasis -----------------------------------------------------------------------------------

_EMPHASIS = re.compile(
    r"\\[()\[\]\\]?"  # an escaped bracket stands for itself
    r"|[(\[\])]"
    r"|:\s*(?P<weight>[+-]?(?:\d+\.?\d*|\.\d+))\s*\)"
    r"|[^\\()\[\]:]+"
    r"|:"
)
_BREAK = re.compile(r"\s*\bBREAK\b\s*")


def parse_emphasis(text: str) -> list[Piece]:
    r"""Split a prompt into pieces of equal emphasis.

    `(a)` is 1.1 times as strong, `[a]` as weak, `(a:1.3)` 1.3 times as strong; brackets nest, and
    `\(` is a bracket. A bracket that is never closed reaches to the end.
    """
    pieces: list[Piece] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}

    def emphasise(start: int, factor: float) -> None:
        for index in range(start, len(pieces)):
            piece = pieces[index]
            if piece.weight is not None:
                pieces[index] = Piece(piece.text, piece.weight * factor)

    for match in _EMPHASIS.finditer(text):
        token = match[0]
        if token[0] == "\\":
            pieces.append(Piece(token[1:]))
        elif token in opened:
            opened[token].append(len(pieces))
        elif match["weight"] is not None and opened["("]:
            emphasise(opened["("].pop(), float(match["weight"]))
        elif token == ")" and opened["("]:
            emphasise(opened["("].pop(), ROUND_BRACKET)
        elif token == "]" and opened["["]:
            emphasise(opened["["].pop(), SQUARE_BRACKET)
        else:
            first, *others = _BREAK.split(token)
            pieces.append(Piece(first))
            for part in others:
                pieces += [Piece("BREAK", None), Piece(part)]
    for start in opened["("]:
        emphasise(start, ROUND_BRACKET)
    for start in opened["["]:
        emphasise(start, SQUARE_BRACKET)
    return list(_merged(pieces)) or [Piece("")]


def _merged(pieces: list[Piece]) -> Iterator[Piece]:
    """Neighbours of equal weight as one piece, as their tokens are found together."""
    waiting: Piece | None = None
    for piece in pieces:
        if waiting is None:
            waiting = piece
        elif piece.weight is not None and piece.weight == waiting.weight:
            waiting = Piece(waiting.text + piece.text, piece.weight)
        else:
            yield waiting
            waiting = piece
    if waiting is not None:
        yield waiting


# -- prompt editing -----------------------------------------------------------------------------

_NUMBER = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)\s*")


def prompt_schedule(text: str, steps: int) -> list[str]:
    """The prompt at each of the steps: `[a:b:0.5]` changes in the middle, `[a|b]` at every step.

    As in the WebUI, a change at step n is made after n + 1 steps: the first one counts as none.
    """
    return [prompt_at(text, max(1, step), steps) for step in range(steps)]


def prompt_at(text: str, step: int, steps: int) -> str:
    """The prompt that the WebUI's editing syntax gives for a step, counted from 1."""
    result, position = [], 0
    while position < len(text):
        end = _closing(text, position) if text[position] == "[" else None
        if end is not None:
            result.append(_edited(text[position + 1 : end], step, steps))
            position = end + 1
        else:
            length = 2 if text[position] == "\\" else 1
            result.append(text[position : position + length])
            position += length
    return "".join(result)


def _edited(inside: str, step: int, steps: int) -> str:
    *texts, when = _split_outside_brackets(inside, ":")
    if 1 <= len(texts) <= 2 and _NUMBER.fullmatch(when):
        before, after = texts if len(texts) == 2 else ("", texts[0])
        moment = float(when) * (steps if "." in when else 1)
        return prompt_at(before if step <= min(steps, int(moment)) else after, step, steps)
    options = _split_outside_brackets(inside, "|")
    if len(options) > 1:
        return prompt_at(options[(step - 1) % len(options)], step, steps)
    return f"[{prompt_at(inside, step, steps)}]"


def _closing(text: str, start: int) -> int | None:
    """Where the square bracket at `start` is closed, None if it never is."""
    depth = 0
    for position, character in _unescaped(text, start):
        depth += (character == "[") - (character == "]")
        if depth == 0:
            return position
    return None


def _split_outside_brackets(text: str, separator: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for position, character in _unescaped(text, 0):
        if character in "([":
            depth += 1
        elif character in ")]":
            depth -= 1
        elif character == separator and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    return [*parts, text[start:]]


def _unescaped(text: str, start: int) -> Iterator[tuple[int, str]]:
    position = start
    while position < len(text):
        if text[position] == "\\":
            position += 2
            continue
        yield position, text[position]
        position += 1


# -- tokens -------------------------------------------------------------------------------------


@dataclass
class Chunk:
    """Up to 75 tokens and the emphasis of each."""

    tokens: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    def take_from(self, position: int) -> Chunk:
        """Cut the chunk at a position and give what was behind it."""
        rest = Chunk(self.tokens[position:], self.weights[position:])
        del self.tokens[position:], self.weights[position:]
        return rest

    def padded(self, tokenizer: CLIPTokenizer) -> tuple[list[int], list[float]]:
        """(77 tokens, 77 weights) with start, end and padding."""
        missing = CHUNK_LENGTH - len(self.tokens)
        return framed(tokenizer, self.tokens), [1.0, *self.weights, *[1.0] * (missing + 1)]


def tokenize(text: str, tokenizer: CLIPTokenizer) -> list[Chunk]:
    """The chunks of a prompt, at least one."""
    comma = tokenizer.get_vocab().get(",</w>")
    chunks, last_comma = [Chunk()], None
    for piece in parse_emphasis(text):
        if piece.weight is None:
            chunks.append(Chunk())
            last_comma = None
            continue
        for token in tokens_of(tokenizer, piece.text):
            is_full = len(chunks[-1].tokens) == CHUNK_LENGTH
            if token == comma and not is_full:
                last_comma = len(chunks[-1].tokens)
            if is_full:
                near = last_comma is not None and CHUNK_LENGTH - last_comma <= COMMA_BACKTRACK
                moves = near and token != comma
                cut = CHUNK_LENGTH if last_comma is None or not moves else last_comma + 1
                chunks.append(chunks[-1].take_from(cut))
                last_comma = None
            chunks[-1].tokens.append(token)
            chunks[-1].weights.append(piece.weight)
    if len(chunks) > 1 and not chunks[-1].tokens:
        chunks.pop()
    return chunks


# -- text encoders ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Conditioning:
    """What the UNet reads of a prompt: (1, 77 n, C) states, for SDXL also a (1, P) summary."""

    states: Tensor
    pooled: Tensor | None = None

    def zeros(self) -> Conditioning:
        """Nothing at all, which SDXL takes in place of an empty negative prompt."""
        pooled = None if self.pooled is None else torch.zeros_like(self.pooled)
        return Conditioning(torch.zeros_like(self.states), pooled)


@torch.no_grad()
def encode_prompt(checkpoint: Checkpoint, text: str, *, clip_skip: int = 1) -> Conditioning:
    """Read a prompt with all of the model's text encoders, as the WebUI does.

    What `clip_skip` does goes by the family: see `lib_rimo.sd.text_encoding`.
    """
    states, pooled = [], None
    for tokenizer, encoder in zip(checkpoint.tokenizers, checkpoint.text_encoders, strict=True):
        parts = []
        for number, chunk in enumerate(tokenize(text, tokenizer)):
            tokens, weights = chunk.padded(tokenizer)
            ids = torch.tensor([tokens], device=encoder.device)
            part, summary = encode_tokens(checkpoint.family, encoder, ids, clip_skip)
            parts.append(_emphasised(part, weights))
            if number == 0 and summary is not None:
                pooled = summary
        states.append(torch.cat(parts, dim=1))
    return Conditioning(torch.cat(states, dim=2), pooled)


def _emphasised(states: Tensor, weights: list[float]) -> Tensor:
    """Strengthen tokens and bring the mean of all back to what it was."""
    if all(weight == 1 for weight in weights):
        return states
    factors = torch.tensor(weights, device=states.device, dtype=states.dtype)[None, :, None]
    stressed = states * factors
    return stressed * (states.mean() / stressed.mean())
