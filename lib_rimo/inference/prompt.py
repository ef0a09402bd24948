"""Prompts as AUTOMATIC1111's WebUI reads them: emphasis, BREAK, prompt editing, long prompts."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple, NoReturn

import torch
from torch import Tensor
from transformers import CLIPTokenizer

from lib_rimo.errors import UserError
from lib_rimo.sd.checkpoint import Checkpoint
from lib_rimo.sd.text_encoding import CHUNK_LENGTH, encode_tokens, framed, tokens_of

# A comma that close to a chunk's end takes what follows it along into the next chunk.
COMMA_BACKTRACK = 20
ROUND_BRACKET, SQUARE_BRACKET = 1.1, 1 / 1.1


class Piece(NamedTuple):
    """Text with its emphasis; weight None is a BREAK, which begins a new chunk."""

    text: str
    weight: float | None = 1.0


# -- emphasis -----------------------------------------------------------------------------------

# Each alternative takes all that is of its kind, and ends where another one begins, so that any
# text is read in one go and in few tokens.
_EMPHASIS = re.compile(
    r"(?:\\[()\[\]\\]?)+"  # escaped brackets stand for themselves
    r"|[(\[]"
    r"|[)\]]+"
    r"|:\s*(?P<weight>[+-]?(?:\d+(?:\.\d*)?|\.\d+))\s*\)"
    r"|(?:[^\\()\[\]:]+|:(?!\s*[+-]?(?:\d+(?:\.\d*)?|\.\d+)\s*\)))+"
)
_ESCAPE = re.compile(r"\\([()\[\]\\]?)")
_BREAK = re.compile(r"\bBREAK\b")
# What brackets do costs their depth for each piece inside; nobody means as many as that.
DEEPEST = 32


def parse_emphasis(text: str) -> list[Piece]:
    r"""Split a prompt into pieces of equal emphasis.

    `(a)` is 1.1 times as strong, `[a]` as weak, `(a:1.3)` 1.3 times as strong; brackets nest, and
    `\(` is a bracket. A bracket that is never closed reaches to the end. Raises UserError for
    brackets too deep or emphasis too strong for numbers.
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
            pieces.append(Piece(_ESCAPE.sub(r"\1", token)))
        elif token in opened:
            opened[token].append(len(pieces))
            if len(opened["("]) + len(opened["["]) > DEEPEST:
                _refuse_depth()
        elif match["weight"] is not None and opened["("]:
            emphasise(opened["("].pop(), float(match["weight"]))
        elif token[0] in _CLOSED:
            for position, bracket in enumerate(token):
                if not (opened["("] or opened["["]):
                    pieces.append(Piece(token[position:]))
                    break
                opening, factor = _CLOSED[bracket]
                if opened[opening]:
                    emphasise(opened[opening].pop(), factor)
                else:
                    pieces.append(Piece(bracket))
        else:
            first, *others = _split_at_breaks(token)
            pieces.append(Piece(first))
            for part in others:
                pieces += [Piece("BREAK", None), Piece(part)]
    for start in opened["("]:
        emphasise(start, ROUND_BRACKET)
    for start in opened["["]:
        emphasise(start, SQUARE_BRACKET)
    if any(piece.weight is not None and abs(piece.weight) > STRONGEST for piece in pieces):
        raise UserError(
            "The prompt has an emphasis beyond {most}: write (word:1.2).", most=STRONGEST
        )
    return list(_merged(pieces)) or [Piece("")]


_CLOSED = {")": ("(", ROUND_BRACKET), "]": ("[", SQUARE_BRACKET)}
STRONGEST = 1_000_000


def _refuse_depth() -> NoReturn:
    raise UserError(
        "The prompt has more than {most} brackets inside each other: close them, or write \\( and "
        "\\[ for brackets that are meant as such.",
        most=DEEPEST,
    )


def _split_at_breaks(text: str) -> list[str]:
    """The texts around each BREAK, without the spaces beside it."""
    first, *others = _BREAK.split(text)
    if not others:
        return [first]
    *between, last = others
    return [first.rstrip(), *(part.strip() for part in between), last.lstrip()]


def _merged(pieces: list[Piece]) -> Iterator[Piece]:
    """Neighbours of equal weight as one piece, as their tokens are found together."""
    for weight, neighbours in groupby(pieces, key=lambda piece: piece.weight):
        if weight is None:
            yield from neighbours
        else:
            yield Piece("".join(piece.text for piece in neighbours), weight)


# -- composition --------------------------------------------------------------------------------

_AND = re.compile(r"\bAND\b")
_WEIGHT = re.compile(r"\s*([-+]?(?:\d+\.?|\d*\.\d+))")


def split_composition(text: str) -> list[tuple[str, float]]:
    """The prompts that `AND` joins, each with the weight after its last colon, 1 without one.

    Raises UserError for a weight that is too large.
    """
    parts = []
    for part in _AND.split(text):
        before, colon, number = part.rstrip().rpartition(":")
        found = _WEIGHT.fullmatch(number) if colon else None
        weight = float(found[1]) if found else 1.0
        if abs(weight) > STRONGEST:
            raise UserError("The prompt has a weight beyond {most}: write :1.2.", most=STRONGEST)
        parts.append((before.rstrip() if found else part.rstrip(), weight))
    return parts


# -- prompt editing -----------------------------------------------------------------------------

_NUMBER = re.compile(r"\s*[+-]?(?:\d+(?:\.\d*)?|\.\d+)\s*")


def prompt_schedule(text: str, steps: int) -> list[str]:
    """The prompt at each of the steps: `[a:b:0.5]` changes in the middle, `[a|b]` at every step.

    As in the WebUI, a change at step n is made after n + 1 steps: the first one counts as none.
    Raises UserError for brackets too deep.
    """
    if "[" not in text:
        return [text] * steps
    return [prompt_at(text, max(1, step), steps) for step in range(steps)]


def prompt_at(text: str, step: int, steps: int, *, depth: int = 0) -> str:
    """The prompt that the WebUI's editing syntax gives for a step, counted from 1.

    Each level of brackets reads what is in it once more, so there is a limit to them: UserError.
    """
    if depth > DEEPEST:
        _refuse_depth()
    if "[" not in text:
        return text
    result, position = [], 0
    closings = _closings(text)
    for start, end in sorted(closings.items()):
        if start >= position:  # not inside the one before
            result.append(text[position:start])
            result.append(_edited(text[start + 1 : end], step, steps, depth + 1))
            position = end + 1
    result.append(text[position:])
    return "".join(result)


def _edited(inside: str, step: int, steps: int, depth: int) -> str:
    *texts, when = _split_outside_brackets(inside, ":")
    if 1 <= len(texts) <= 2 and _NUMBER.fullmatch(when):
        before, after = texts if len(texts) == 2 else ("", texts[0])
        moment = float(when) * (steps if "." in when else 1)
        last = math.floor(max(-1.0, min(steps, moment)))
        return prompt_at(before if step <= last else after, step, steps, depth=depth)
    options = _split_outside_brackets(inside, "|")
    if len(options) > 1:
        return prompt_at(options[(step - 1) % len(options)], step, steps, depth=depth)
    return f"[{prompt_at(inside, step, steps, depth=depth)}]"


def _closings(text: str) -> dict[int, int]:
    """Where each square bracket that is closed is opened and closed."""
    opened: list[int] = []
    closings: dict[int, int] = {}
    for position, character in _unescaped(text):
        if character == "[":
            opened.append(position)
        elif character == "]" and opened:
            closings[opened.pop()] = position
    return closings


def _split_outside_brackets(text: str, separator: str) -> list[str]:
    if separator not in text:
        return [text]
    parts, depth, start = [], 0, 0
    for position, character in _unescaped(text):
        if character in "([":
            depth += 1
        elif character in ")]":
            depth -= 1
        elif character == separator and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    return [*parts, text[start:]]


_MEANINGFUL = re.compile(r"\\.|[()\[\]:|]", re.DOTALL)


def _unescaped(text: str) -> Iterator[tuple[int, str]]:
    """Where brackets, colons and bars stand that no backslash is before."""
    for found in _MEANINGFUL.finditer(text):
        if found[0][0] != "\\":
            yield found.start(), found[0]


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
