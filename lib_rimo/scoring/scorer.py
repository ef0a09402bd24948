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
from functools import cache
from itertools import pairwise

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lib_rimo.inference.prompt import parse_emphasis
from lib_rimo.scoring.encoder import PictureEncoder
from lib_rimo.weights.tags import replace_extra_networks

MOST_GROUPS = 6  # of a prompt's words, those that the base model's pictures show best
_TOGETHER = 0.5
"""Words whose separate evidence is less than this share of their common one say the same again."""
_LEAST_SHOWN = 0.02  # of the best shown group's evidence: what is less is not to be seen
_SCENE_CELLS = 400  # of each of the base's pictures that are tried for what is its prompt's own
_SCENE = 0.5  # the share of them that is: those that other prompts' pictures match worst
_SHOWN = 0.5  # of the base's mean evidence: with so much of it a picture shows what was asked
_GROUPING_PICTURES = 2  # of the base's, of each prompt
REFERENCE_CELLS = 2000  # of all training pictures together; more only takes longer
_LEAST_ROOM = 0.01  # of a cosine: where the base draws her as she is, nothing can be gained
_WHOLLY_SUBJECT = 0.6  # of a latent cell: what is less is as much background
_HALF_HER = 0.3
"""The fit that counts half in a choice, more than most LoRAs reach. Beyond it a person sees
hardly more of her: `python -m benchmarks.scoring` on why fit is not counted as it is."""


Group = tuple[str, ...]
"""Words of a prompt that are asked together."""


@dataclass(frozen=True)
class Score:
    """How a state does. `fit`: 0 as the base model alone, 1 as one training picture to another.

    `keeping`: 1 where the prompt shows in the pictures as it does without the LoRA, 0 not at all;
    half of it by the prompt's words, half by how the place and the clothes look.
    """

    fit: float
    keeping: float

    @property
    def total(self) -> float:
        """What a choice goes by: the harmonic mean of how much of her there is, and keeping.

        So nothing of one of the two cannot be made good by the other.
        """
        fit = max(self.fit, 0.0)
        return harmonic_mean(fit / (fit + _HALF_HER), self.keeping)


@dataclass(frozen=True)
class Reference:
    """A training picture and its subject's mask (mode L, as large)."""

    picture: Image.Image
    mask: Image.Image


def harmonic_mean(one: float, other: float) -> float:
    """Of two shares; what is below 0 or above 1 counts as that."""
    one, other = (min(max(part, 0.0), 1.0) for part in (one, other))
    return 2 * one * other / (one + other) if one + other else 0.0


@dataclass(frozen=True)
class Scene:
    """What of one of the base's pictures is its prompt's own: the place and the clothes.

    Of its cells those that its pictures of other prompts match worst, (K, C); `elsewhere` is how
    well they do. There are none where there is no other prompt.
    """

    cells: Tensor
    elsewhere: float

    def kept_in(self, cells: Tensor) -> float | None:
        """How much of it another picture's cells (P, C) have: 1 as that picture, 0 as others."""
        if not len(self.cells):
            return None
        match = best_matches(self.cells, cells).mean().item()
        return min(max((match - self.elsewhere) / max(1 - self.elsewhere, _LEAST_ROOM), 0.0), 1.0)


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
        self._cells = _sampled(torch.cat(self._references), REFERENCE_CELLS)  # (Q, C)
        self.identity = _digest(references, sorted(self._own_words))
        """Changes whenever the same model would score the same pictures otherwise."""
        self._likeness: dict[str, Tensor] = {}  # prompt -> the base's likeness, (N,)
        self._scenes: dict[str, list[Scene]] = {}  # prompt -> of each of the base's pictures
        self._evidence: dict[str, dict[Group, float]] = {}  # prompt -> group -> the base's mean

    def know_base(self, pictures: Mapping[str, Sequence[Image.Image]]) -> None:
        """Look at what the base model alone draws of each prompt, a picture for each seed.

        Where she is in them already, nothing is gained. Of each picture what counts as its place
        and clothes is its prompt's own.
        """
        latents = {prompt: self._encoder.latents(drawn) for prompt, drawn in pictures.items()}
        features = {prompt: self._encoder.features(seen_by) for prompt, seen_by in latents.items()}
        self._scenes = {
            prompt: [
                _scene(own, [others[0] for name, others in features.items() if name != prompt])
                for own in seen_by
            ]
            for prompt, seen_by in features.items()
        }
        self._likeness = {
            prompt: torch.stack([self._likeness_of(own) for own in seen_by])
            for prompt, seen_by in features.items()
        }
        self._room = (
            self._likeness_between() - torch.cat([*self._likeness.values()]).mean()
        ).clamp(min=_LEAST_ROOM)
        for prompt, seen_by in latents.items():
            words = self._words(prompt)
            groups = self._groups(seen_by[:_GROUPING_PICTURES], words)
            found = self._evidence_of(seen_by, words, groups)
            evidence = {group: part.mean().item() for group, part in found.items()}
            least = _LEAST_SHOWN * max(evidence.values(), default=0.0)
            shown = sorted((g for g in groups if evidence[g] > least), key=lambda g: -evidence[g])
            self._evidence[prompt] = {group: evidence[group] for group in shown[:MOST_GROUPS]}

    def score(self, prompt: str, number: int, picture: Image.Image) -> Score:
        """Score a picture of the same prompt and seed as the base's picture of that number."""
        latents = self._encoder.latents([picture])
        cells = self._encoder.features(latents)[0]
        gained = self._likeness_of(cells) - self._likeness[prompt][number]
        fit = (gained / self._room).item()
        kept = [self._words_kept(prompt, latents), self._scenes[prompt][number].kept_in(cells)]
        known = [part for part in kept if part is not None]
        return Score(fit, sum(known) / len(known) if known else 1.0)

    def _words_kept(self, prompt: str, latents: Tensor) -> float | None:
        """The share of the prompt that a picture shows; None where the base's shows none of it."""
        wanted = self._evidence[prompt]
        found = self._evidence_of(latents, self._words(prompt), list(wanted))
        kept = [
            min(max(found[group].item() / (_SHOWN * shown), 0.0), 1.0)
            for group, shown in wanted.items()
        ]
        return sum(kept) / len(kept) if kept else None

    def _words(self, prompt: str) -> list[str]:
        return [word for word in words_of(prompt) if word.lower() not in self._own_words]

    def _groups(self, latents: Tensor, words: Sequence[str]) -> list[Group]:
        """The words, those together that say the same again: `maid`, `maid headdress`.

        Taking one of such words away changes little as long as another stays, so that none of them
        would seem to be shown. Only neighbours are tried, the pair first that gains most.
        """
        whole = self._encoder.errors(latents, ", ".join(words))

        @cache
        def evidence(group: Group) -> float:
            return max((self._errors_without(latents, words, group) - whole).mean().item(), 0.0)

        def gain(one: Group, other: Group) -> float:
            both = evidence(one + other)
            apart = evidence(one) + evidence(other)
            return both - apart if apart < _TOGETHER * both else 0.0

        groups: list[Group] = [(word,) for word in words]
        while len(groups) > 1:
            gains = [gain(one, other) for one, other in pairwise(groups)]
            best = max(range(len(gains)), key=gains.__getitem__)
            if gains[best] <= 0:
                break
            groups[best : best + 2] = [groups[best] + groups[best + 1]]
        return groups

    def _subject_cells(self, reference: Reference) -> Tensor:
        """The features of a training picture's subject, (cells, C)."""
        latents = self._encoder.latents([reference.picture])
        size = (latents.shape[3], latents.shape[2])
        mask = np.asarray(reference.mask.resize(size, Image.Resampling.BOX)) / 255
        features = self._encoder.features(latents)[0]
        inside = torch.from_numpy(mask > _WHOLLY_SUBJECT).flatten().to(features.device)
        return features[inside]

    def _likeness_of(self, cells: Tensor) -> Tensor:
        """How much of the character a picture's cells (P, C) have: the mean over all of hers.

        Were only those asked for that tell her from any girl, specks of all colours would match
        them best: `python -m benchmarks.scoring` with LoRAs that are trained too far.
        """
        return best_matches(self._cells, cells).mean()

    def _likeness_between(self) -> Tensor:
        """How near the training pictures come to each other, each against all the others' cells."""
        if len(self._references) < 2:
            return torch.ones(())
        nearest = [best_matches(self._cells, own) for own in self._references]  # (Q,) each
        # Each cell is matched perfectly by the picture it is from; the next best tells.
        return torch.stack(nearest).sort(dim=0, descending=True).values[1].mean()

    def _evidence_of(
        self, latents: Tensor, words: Sequence[str], groups: Sequence[Group]
    ) -> dict[Group, Tensor]:
        """By how much naming each of the groups lowers the base's error: (N,) a group."""
        whole = self._encoder.errors(latents, ", ".join(words))
        return {group: self._errors_without(latents, words, group) - whole for group in groups}

    def _errors_without(self, latents: Tensor, words: Sequence[str], group: Group) -> Tensor:
        return self._encoder.errors(latents, ", ".join(w for w in words if w not in group))


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


def _scene(cells: Tensor, others: Sequence[Tensor]) -> Scene:
    """Of a picture's cells (P, C) what is in none of the others, (P, C) each."""
    cells = _sampled(cells, _SCENE_CELLS)
    if not others:
        return Scene(cells[:0], 0.0)
    best = torch.stack([best_matches(cells, other) for other in others]).amax(0)
    own = best <= best.quantile(_SCENE)
    return Scene(cells[own], best[own].mean().item())


def _sampled(cells: Tensor, most: int) -> Tensor:
    """At most about so many of them, evenly."""
    return cells[:: max(1, len(cells) // most)]


_VERSION = "3"  # of how is scored


def _digest(references: Sequence[Reference], words: Sequence[str]) -> str:
    """Of what goes in: features differ in their last digits with the count of threads."""
    digest = hashlib.sha256("\n".join([_VERSION, *words]).encode())
    for reference in references:
        for image in (reference.picture, reference.mask):
            digest.update(repr(image.size).encode() + image.tobytes())
    return digest.hexdigest()
