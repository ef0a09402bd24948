"""Prompts as AUTOMATIC1111's WebUI reads them: emphasis, BREAK, prompt editing, long prompts."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
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
    r"(?P<escaped>(?:\\[()\[\]\\]?)+)"  # brackets that stand for themselves
    r"|(?P<open>[(\[])"
    r"|(?P<close>[)\]]+)"
    r"|:\s*(?P<weight>[+-]?(?:\d+(?:\.\d*)?|\.\d+))\s*\)"
    r"|(?P<text>(?:[^\\()\[\]:]+|:(?!\s*[+-]?(?:\d+(?:\.\d*)?|\.\d+)\s*\)))+)"
)
_ESCAPE = re.compile(r"\\([()\[\]\\]?)")
_BREAK = re.compile(r"\bBREAK\b")
# What brackets do costs their depth for each piece inside; nobody means as many as that.
DEEPEST = 32
MOST_SIGNS = 4000


def parse_emphasis(text: str) -> list[Piece]:
    r"""Split a prompt into pieces of equal emphasis.

    `(a)` is 1.1 times as strong, `[a]` as weak, `(a:1.3)` 1.3 times as strong; brackets nest, and
    `\(` is a bracket. A bracket that is never closed reaches to the end. Raises UserError for
    brackets too deep or signs too many, or emphasis too strong for numbers.
    """
    _check_signs(text)
    texts: list[str] = []
    weights: list[float | None] = []  # of each text; None for a BREAK
    opened: dict[str, list[int]] = {"(": [], "[": []}

    def emphasise(start: int, factor: float) -> None:
        for index in range(start, len(weights)):
            weight = weights[index]
            if weight is not None:
                weights[index] = weight * factor

    def take(*parts: str) -> None:
        texts.extend(parts)
        weights.extend([1.0] * len(parts))

    for match in _EMPHASIS.finditer(text):
        token, kind = match[0], match.lastgroup
        if kind == "escaped":
            take(_ESCAPE.sub(r"\1", token))
        elif kind == "open":
            opened[token].append(len(texts))
            if len(opened["("]) + len(opened["["]) > DEEPEST:
                _refuse_depth()
        elif kind == "weight" and opened["("]:
            emphasise(opened["("].pop(), float(match["weight"]))
        elif kind == "close":
            for position, bracket in enumerate(token):
                if not (opened["("] or opened["["]):
                    take(token[position:])
                    break
                opening, factor = _CLOSED[bracket]
                if opened[opening]:
                    emphasise(opened[opening].pop(), factor)
                else:
                    take(bracket)
        elif "BREAK" not in token:
            take(token)
        else:
            first, *others = _split_at_breaks(token)
            take(first)
            for part in others:
                texts.append("BREAK")
                weights.append(None)
                take(part)
    for start in opened["("]:
        emphasise(start, ROUND_BRACKET)
    for start in opened["["]:
        emphasise(start, SQUARE_BRACKET)
    if any(weight is not None and abs(weight) > STRONGEST for weight in weights):
        raise UserError(
            "The prompt has an emphasis beyond {most}: write (word:1.2).", most=STRONGEST
        )
    return list(_merged(texts, weights)) or [Piece("")]


_CLOSED = {")": ("(", ROUND_BRACKET), "]": ("[", SQUARE_BRACKET)}
STRONGEST = 1_000_000


def _check_signs(text: str) -> None:
    """Raise UserError for more signs than anybody writes, and who did would wait for."""
    if sum(text.count(sign) for sign in "([|:") > MOST_SIGNS:
        raise UserError(
            "The prompt has more than {most} of the signs ( [ | : in it: take some out.",
            most=MOST_SIGNS,
        )


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


def _merged(texts: list[str], weights: list[float | None]) -> Iterator[Piece]:
    """Neighbours of equal weight as one piece, as their tokens are found together."""
    for weight, neighbours in groupby(zip(weights, texts, strict=True), key=itemgetter(0)):
        if weight is None:
            yield from (Piece(text, None) for _, text in neighbours)
        else:
            yield Piece("".join(text for _, text in neighbours), weight)


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

# Of ASCII's spaces: a number with another one around it is none for float().
_NUMBER = re.compile(r"\s*[+-]?(?:\d+(?:\.\d*)?|\.\d+)\s*", re.ASCII)
_MEANINGFUL = re.compile(r"\\.|[()\[\]:|]", re.DOTALL)


def prompt_schedule(text: str, steps: int) -> list[str]:
    """The prompt at each of the steps: `[a:b:0.5]` changes in the middle, `[a|b]` at every step.

    As in the WebUI, a change at step n is made after n + 1 steps: the first one counts as none.
    Raises UserError for brackets too deep or signs too many.
    """
    prompt = read_editing(text)
    return [prompt.at(max(1, step), steps) for step in range(steps)]


def prompt_at(text: str, step: int, steps: int) -> str:
    """The prompt that the WebUI's editing syntax gives for a step, counted from 1: UserError."""
    return read_editing(text).at(step, steps)


class Edited(NamedTuple):
    """A prompt, or a part of one, that is another text at some steps."""

    parts: tuple[str | Edited, ...]
    """Texts one after another; with `when` the one before and the one after it; or alternatives."""
    when: str | None = None
    """After which step, or part of the steps, the second part takes the first one's place."""
    alternates: bool = False
    """Whether each step takes the next of the parts."""
    depth: int = 0
    """How many brackets are inside each other in it."""

    def at(self, step: int, steps: int) -> str:
        """The text at a step, counted from 1."""
        parts = self.parts
        if self.when is not None:
            moment = float(self.when) * (steps if "." in self.when else 1)
            last = math.floor(max(-1.0, min(steps, moment)))
            parts = parts[:1] if step <= last else parts[1:]
        elif self.alternates:
            parts = (parts[(step - 1) % len(parts)],)
        return "".join(part if isinstance(part, str) else part.at(step, steps) for part in parts)


class _Bracket:
    """A `[` that is being read: what has been found in it, and where it may be split."""

    def __init__(self) -> None:
        self.parts: list[str | Edited] = []
        self.separators: list[int] = []  # places in parts of the `:` and `|` outside of brackets
        self.depth = 0  # of brackets within it that are closed
        self.rounds = 0  # round brackets that are open

    def take(self, text: str) -> None:
        """Go on with a text, if there is any."""
        if text:
            self.parts.append(text)

    def closed(self) -> Edited:
        """What it means, once its `]` is found."""
        parts, depth = self.parts, self.depth + 1
        colons = [place for place in self.separators if parts[place] == ":"]
        if 1 <= len(colons) <= 2 and len(parts) == colons[-1] + 2:
            when = parts[-1]
            if isinstance(when, str) and _NUMBER.fullmatch(when):
                texts = self._split(colons)[:-1]
                both = texts if len(texts) == 2 else [Edited(()), *texts]
                return Edited(tuple(both), when, depth=depth)
        if bars := [place for place in self.separators if parts[place] == "|"]:
            return Edited(tuple(self._split(bars)), alternates=True, depth=depth)
        return Edited(("[", *parts, "]"), depth=depth)

    def _split(self, places: list[int]) -> list[Edited]:
        starts, ends = [0, *(place + 1 for place in places)], [*places, len(self.parts)]
        return [Edited(tuple(self.parts[a:b])) for a, b in zip(starts, ends, strict=True)]


def read_editing(text: str) -> Edited:
    """Read a prompt once for all of its steps; UserError for brackets too deep, signs too many.

    A bracket that is never closed, or never opened, is one that is meant as such.
    """
    _check_signs(text)
    end = text.rfind("]") + 1
    brackets, position = [_Bracket()], 0
    for found in _MEANINGFUL.finditer(text, 0, end) if "[" in text else ():
        token, inner = found[0], brackets[-1]
        if token == "(":
            inner.rounds += 1
        elif token == ")":
            inner.rounds -= 1
        elif token[0] == "\\" or (token != "[" and len(brackets) == 1):
            continue
        elif token in ":|":
            if inner.rounds == 0:
                inner.take(text[position : found.start()])
                inner.separators.append(len(inner.parts))
                inner.parts.append(token)
                position = found.end()
        else:
            inner.take(text[position : found.start()])
            position = found.end()
            if token == "[":
                brackets.append(_Bracket())
                continue
            edited = brackets.pop().closed()
            if edited.depth > DEEPEST:
                _refuse_depth()
            outer = brackets[-1]
            outer.parts.append(edited)
            outer.depth = max(outer.depth, edited.depth)
            outer.rounds += inner.rounds
    first, *never_closed = brackets
    for bracket in never_closed:
        first.parts += ["[", *bracket.parts]
    return Edited((*first.parts, text[position:]))


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


def joined(prompts: Sequence[Conditioning]) -> Conditioning:
    """Prompts of equal length as one batch."""
    pooled = [prompt.pooled for prompt in prompts if prompt.pooled is not None]
    return Conditioning(
        torch.cat([prompt.states for prompt in prompts]), torch.cat(pooled) if pooled else None
    )


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
