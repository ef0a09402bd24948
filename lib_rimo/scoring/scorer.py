"""Two numbers for a LoRA in some state: is it the character, and does the prompt still count.

Both compare with what the base model alone draws of the same prompts and seeds. Training pictures
are the only reference of who the character is, but only through their subject and cell by cell,
wherever it stands: redrawing one of them gains no fit over drawing her elsewhere, and costs the
keeping.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lib_rimo.inference.prompt import parse_emphasis
from lib_rimo.scoring.encoder import PictureEncoder
from lib_rimo.weights.tags import replace_extra_networks

MOST_WORDS = 6  # of a prompt, those that the base model's pictures show best
REFERENCE_CELLS = 2000  # of all training pictures together; more only takes longer
_DISTINCTIVE = 0.1
"""The share of the character's cells that count. `python -m benchmarks.scoring` tells how well fit
goes with the judge's identity; in a first trial all cells' mean did worse, weights by the distance
from the base's pictures and the worst 30 % a little worse."""
_LEAST_ROOM = 0.01  # of a cosine: where the base draws her as she is, nothing can be gained
_WHOLLY_SUBJECT = 0.6  # of a latent cell: what is less is as much background


@dataclass(frozen=True)
class Score:
    """How a state does. `fit`: 0 as the base model alone, 1 as one training picture to another.

    `keeping`: 1 where the prompt shows in the pictures as it does without the LoRA, 0 not at all.
    """

    fit: float
    keeping: float

    @property
    def total(self) -> float:
        """The harmonic mean: nothing of one of the two cannot be made good by the other."""
        fit, keeping = (min(max(part, 0.0), 1.0) for part in (self.fit, self.keeping))
        return 2 * fit * keeping / (fit + keeping) if fit + keeping else 0.0


@dataclass(frozen=True)
class Reference:
    """A training picture and its subject's mask (mode L, as large)."""

    picture: Image.Image
    mask: Image.Image


class Scorer:
    """Scores pictures against those of the base model, for one character.

    `own_words` are those that name the character or what belongs to her; they are not asked to be
    kept. What the base model draws has to be known before anything is scored.
    """

    def __init__(
        self,
        encoder: PictureEncoder,
        references: Sequence[Reference],
        own_words: Collection[str] = (),
    ) -> None:
        self._encoder = encoder
        self._own_words = {word.lower() for word in own_words}
        self._references = [self._subject_cells(reference) for reference in references]
        self._cells = _sampled(torch.cat(self._references))  # (Q, C)
        self.identity = _digest(self._cells, sorted(self._own_words))
        """Changes whenever the same pictures would be scored otherwise."""
        self._distinctive = torch.ones(len(self._cells), dtype=torch.bool)
        self._likeness: dict[str, Tensor] = {}  # prompt -> the base's likeness, (N,)
        self._evidence: dict[str, dict[str, Tensor]] = {}  # prompt -> word -> (N,)

    def know_base(self, pictures: Mapping[str, Sequence[Image.Image]]) -> None:
        """Look at what the base model alone draws of each prompt, a picture for each seed.

        Of the character's cells only those count from now on that the base's pictures match worst:
        what makes her her, and not any girl.
        """
        latents = {prompt: self._encoder.latents(drawn) for prompt, drawn in pictures.items()}
        matches = {
            prompt: torch.stack(
                [best_matches(self._cells, seen) for seen in self._encoder.features(seen_by)]
            )
            for prompt, seen_by in latents.items()
        }  # (N, Q) each
        mean = torch.cat(list(matches.values())).mean(0)
        self._distinctive = mean <= mean.quantile(_DISTINCTIVE)
        self._likeness = {
            prompt: found[:, self._distinctive].mean(1) for prompt, found in matches.items()
        }
        self._room = (
            self._likeness_between() - torch.cat([*self._likeness.values()]).mean()
        ).clamp(min=_LEAST_ROOM)
        for prompt, seen_by in latents.items():
            words = self._words(prompt)
            evidence = self._evidence_of(seen_by, words, words)
            shown = {word: found for word, found in evidence.items() if found.mean() > 0}
            best = sorted(shown, key=lambda word: -shown[word].mean().item())[:MOST_WORDS]
            self._evidence[prompt] = {word: shown[word].clamp(min=0) for word in best}

    def score(self, prompt: str, number: int, picture: Image.Image) -> Score:
        """Score a picture of the same prompt and seed as the base's picture of that number."""
        latents = self._encoder.latents([picture])
        seen = best_matches(self._cells[self._distinctive], self._encoder.features(latents)[0])
        fit = ((seen.mean() - self._likeness[prompt][number]) / self._room).item()
        before = {word: found[number] for word, found in self._evidence[prompt].items()}
        found = self._evidence_of(latents, self._words(prompt), list(before))
        there_was = sum(part.item() for part in before.values())
        kept = sum(min(max(found[word].item(), 0.0), part.item()) for word, part in before.items())
        return Score(fit, kept / there_was if there_was else 1.0)

    def _words(self, prompt: str) -> list[str]:
        return [word for word in words_of(prompt) if word.lower() not in self._own_words]

    def _subject_cells(self, reference: Reference) -> Tensor:
        """The features of a training picture's subject, (cells, C)."""
        latents = self._encoder.latents([reference.picture])
        size = (latents.shape[3], latents.shape[2])
        mask = np.asarray(reference.mask.resize(size, Image.Resampling.BOX)) / 255
        features = self._encoder.features(latents)[0]
        inside = torch.from_numpy(mask > _WHOLLY_SUBJECT).flatten().to(features.device)
        return features[inside]

    def _likeness_between(self) -> Tensor:
        """How near the training pictures come to each other, each against all the others' cells."""
        if len(self._references) < 2:
            return torch.ones(())
        wanted = self._cells[self._distinctive]
        nearest = [best_matches(wanted, own) for own in self._references]  # (Q,) each
        # Each cell is matched perfectly by the picture it is from; the next best tells.
        return torch.stack(nearest).sort(dim=0, descending=True).values[1].mean()

    def _evidence_of(
        self, latents: Tensor, words: Sequence[str], asked: Sequence[str]
    ) -> dict[str, Tensor]:
        """By how much naming each of the `asked` words lowers the base's error: (N,) a word."""
        whole = self._encoder.errors(latents, ", ".join(words))
        return {
            word: self._encoder.errors(latents, ", ".join(w for w in words if w != word)) - whole
            for word in asked
        }


def words_of(prompt: str) -> list[str]:
    """What a prompt names, between commas, without its tags and emphasis; each once."""
    text = replace_extra_networks(prompt, lambda network: "")
    plain = "".join(
        piece.text if piece.weight is not None else "," for piece in parse_emphasis(text)
    )
    return list(dict.fromkeys(filter(None, (word.strip() for word in plain.split(",")))))


def best_matches(wanted: Tensor, seen: Tensor) -> Tensor:
    """The cosine of each wanted cell (Q, C) with the nearest seen one of (P, C): (Q,)."""
    return torch.cat([(part @ seen.T).amax(dim=1) for part in torch.split(wanted, 512)])


def _sampled(cells: Tensor) -> Tensor:
    """At most REFERENCE_CELLS of them, evenly."""
    step = max(1, len(cells) // REFERENCE_CELLS)
    return cells[::step]


def _digest(cells: Tensor, words: Sequence[str]) -> str:
    numbers = cells.float().cpu().numpy().round(4).tobytes()
    return hashlib.sha256(numbers + "\n".join(words).encode()).hexdigest()
