"""Which blocks to turn down: what each does, and the vector that keeps most while she stays.

First every block is turned off alone. Those whose absence brings back most of the prompt for the
least of the character are then turned down together, more and more of them; the author's vector and
named presets take part. The better half goes on to more seeds, and the best is mended block by
block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from lib_rimo.errors import UserError
from lib_rimo.lora.blocks import FAMILY_LAYOUTS, LAYOUTS, UNET_FAMILIES
from lib_rimo.lora.facts import read_facts
from lib_rimo.messages import Message
from lib_rimo.scoring import halving
from lib_rimo.scoring.scorer import Score
from lib_rimo.scoring.trials import Result, State, Trials
from lib_rimo.weights.grammar import parse_blocks
from lib_rimo.weights.presets import AUTHORS_VECTOR, Presets
from lib_rimo.weights.ramp import format_number

FIT_THAT_STAYS = 0.9
"""Of what the LoRA has at full strength: a vector that loses more is not taken."""
DEPTHS = (0.0, 0.5)  # how far blocks are turned down together
GROUPS = (1, 2, 3, 4, 6, 8, 11)  # how many of the most promising ones
MOST_PRESETS = 12
MENDINGS = 10  # vectors that differ from the best in one block
EFFECT_PICTURES = 2  # at least, of each block that is turned off alone
_SHORT_OF_FIT = 2.0  # how much a lack of fit counts against keeping, while all are still running
_NO_FIT = 0.02  # what cannot be told from nothing
_LEAST_GAIN = 0.005  # of keeping: less is no reason to leave a simpler vector

Vector = tuple[float, ...]


@dataclass(frozen=True)
class Effect:
    """What a block does: what changes where it alone is turned off."""

    block: str
    state: State
    fit_lost: float
    """Of the full fit, 1 for all of it; below 0 where she comes out better without the block."""
    keeping_gained: float

    @property
    def promise(self) -> float:
        """How much keeping turning it down buys, for the fit that it costs."""
        return self.keeping_gained / (max(self.fit_lost, 0.0) + _NO_FIT)


@dataclass(frozen=True)
class Outcome:
    """What a search found: the block at full strength, the best vector, and what was tried."""

    full: Result
    best: Result
    tried: Sequence[Result]
    is_whole: bool = True
    """Whether the search came to its end."""

    @property
    def is_better(self) -> bool:
        """Whether any vector keeps more than full strength."""
        return self.best.state != self.full.state

    @property
    def reason(self) -> Message:
        """What the best vector is better at, on the seeds of the search."""
        if not self.is_better:
            return Message(
                "No block weights keep more of the prompt while {share} of the fit stays: {tag} is "
                "best as it is."
                if self.is_whole
                else "Of the block weights tried by then none keep more of the prompt than {tag} "
                "while {share} of the fit stays.",
                level="note",
                share=f"{FIT_THAT_STAYS:.0%}",
                tag=self.full.state.tag,
            )
        return _comparison(
            "Keeping goes from {before} to {after}, and {share} of the fit stays.",
            self.full.score,
            self.best.score,
        )

    def unseen_reason(self, full: Score, best: Score) -> Message:
        """The same on other seeds; `full` and `best` as they scored there."""
        return _comparison(
            "On seeds that the search did not see: from {before} to {after}, with {share} of the "
            "fit.",
            full,
            best,
        )


class BlockSearch:
    """The search over one LoRA's block weights at one strength.

    `effects` fills while it goes on, and `outcome` is the best so far, for whoever stops early.
    """

    def __init__(self, trials: Trials, full: State, presets: Presets) -> None:
        facts = read_facts(full.file)
        if facts is None or facts.family not in UNET_FAMILIES:
            raise UserError(
                "{file} has no blocks of a Stable Diffusion UNet: choose another LoRA.",
                file=full.file.name,
            )
        self.layout = facts.layout
        self.blocks = LAYOUTS[facts.layout]
        self.present = facts.blocks
        self.effects: list[Effect] = []
        self._trials, self.full = trials, full
        self._named = named_vectors(presets, self.layout)
        self._best = full
        self._is_whole = False

    @property
    def depth(self) -> int:
        """How many blocks lead down: 12, or 9 in SDXL."""
        return 9 if self.layout in FAMILY_LAYOUTS["sdxl"] else 12

    @property
    def has_begun(self) -> bool:
        """Whether anything is known that could be told."""
        return any(result.state == self.full for result in self._trials.results)

    # -- how much it is -------------------------------------------------------------------------

    @property
    def effect_seeds(self) -> int:
        """The seeds that each block is turned off with."""
        enough = -(-EFFECT_PICTURES // len(self._trials.prompts))
        return min(enough, len(self._trials.seeds))

    @property
    def pictures_needed(self) -> int:
        """How many pictures the search looks at, at most."""
        seeds = len(self._trials.seeds)
        groups = sum(size <= len(self.present) for size in GROUPS)
        together = len(DEPTHS) * groups + len(self._named)
        return len(self._trials.prompts) * (
            seeds  # the base model's
            + seeds  # full strength
            + len(self.present) * self.effect_seeds
            + halving.pictures_needed(together, seeds)
            + MENDINGS * seeds
        )

    # -- the search -----------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Find the vector; its `outcome`."""
        self.find_effects()
        seeds = len(self._trials.seeds)
        self._trials.measure(self.full, seeds)
        ranked = halving.halve(self._candidates(), self._worth, seeds)
        for state in ranked[:2]:  # the last round's
            self._consider(state)
        self._mend()
        self._is_whole = True
        return self.outcome

    @property
    def outcome(self) -> Outcome:
        """The best so far."""
        return Outcome(
            self._trials.result(self.full),
            self._trials.result(self._best),
            sorted(
                self._trials.results,
                key=lambda result: (-result.pictures, -self._value(result.score, result.pictures)),
            ),
            self._is_whole,
        )

    def find_effects(self) -> None:
        """Turn every block off alone."""
        given = self.effect_seeds
        full = self._trials.measure(self.full, given)
        if full.fit < _NO_FIT:
            raise UserError(
                "With {tag} the pictures are no nearer to the training pictures than without it: "
                "choose another strength or a later step.",
                tag=self.full.tag,
            )
        for block in self.present:
            state = self.state({block: 0.0})
            score = self._trials.measure(state, given)
            lost = (full.fit - score.fit) / max(full.fit, _NO_FIT)
            self.effects.append(Effect(block, state, lost, score.keeping - full.keeping))

    def state(self, weights: Mapping[str, float]) -> State:
        """The LoRA with these blocks' weights, all others being 1."""
        values = [format_number(weights.get(block, 1.0)) for block in self.blocks]
        return State(self.full.file, self.full.strength, ",".join(values))

    def _candidates(self) -> list[State]:
        """The most promising blocks turned down together, and the named vectors."""
        promising = [e.block for e in self._by_promise() if e.keeping_gained > 0]
        together = [
            self.state(dict.fromkeys(promising[:size], depth))
            for size in GROUPS
            if size <= len(promising)
            for depth in DEPTHS
        ]
        named = [
            State(self.full.file, self.full.strength, ",".join(map(format_number, vector)))
            for vector in self._named
        ]
        return list(dict.fromkeys([*together, *named]))

    def _mend(self) -> None:
        """Move single blocks of the best vector halfway: the dearest back, promising ones down."""
        order = self._by_promise()
        dearest = sorted(order, key=lambda effect: -effect.fit_lost)[: MENDINGS // 2]
        moves = [(e.block, 1.0) for e in dearest] + [(e.block, 0.0) for e in order]
        left = MENDINGS
        for block, toward in moves:
            weights = self._weights(self._best)
            if left and weights[block] != toward:
                left -= 1
                self._consider(self.state({**weights, block: (weights[block] + toward) / 2}))

    def _by_promise(self) -> list[Effect]:
        return sorted(self.effects, key=lambda effect: -effect.promise)

    def _weights(self, state: State) -> dict[str, float]:
        values = map(float, state.blocks.split(",")) if state.blocks else [1.0] * len(self.blocks)
        return dict(zip(self.blocks, values, strict=True))

    def _worth(self, state: State, given: int) -> float:
        """How good a state is by its first `given` seeds, for halving."""
        score = self._trials.measure(state, given)
        return self._value(score, given * len(self._trials.prompts))

    def _value(self, score: Score, pictures: int) -> float:
        """Keeping, less what is lacking of the fit that has to stay."""
        given = -(-pictures // len(self._trials.prompts))
        wanted = FIT_THAT_STAYS * self._trials.measure(self.full, given).fit
        return score.keeping - _SHORT_OF_FIT * max(0.0, wanted - score.fit) / max(wanted, _NO_FIT)

    def _consider(self, state: State) -> None:
        """Take a state for the best where it keeps more and enough of the fit stays."""
        seeds = len(self._trials.seeds)
        full, score = self._trials.measure(self.full, seeds), self._trials.measure(state, seeds)
        best = self._trials.measure(self._best, seeds)
        enough = score.fit >= FIT_THAT_STAYS * full.fit
        if enough and score.keeping > best.keeping + _LEAST_GAIN:
            self._best = state


def _comparison(template: str, full: Score, best: Score) -> Message:
    return Message(
        template,
        level="note",
        before=f"{full.keeping:.2f}",
        after=f"{best.keeping:.2f}",
        share=f"{best.fit / max(full.fit, _NO_FIT):.0%}",
    )


def named_vectors(presets: Presets, layout: int) -> list[Vector]:
    """The author's vector and the named presets that have a plain number for each block."""
    found: dict[Vector, None] = {}
    named = reversed(list(presets.blocks.values()))  # the user's own stand last
    for text in (AUTHORS_VECTOR, *named):
        with suppress(UserError, ValueError):
            weights = parse_blocks(text, presets)
            vector = tuple(float(part) for part in weights.vector(layout).split(","))
            if weights.layout in (None, layout) and len(set(vector)) > 1:
                found.setdefault(vector)
    return list(found)[:MOST_PRESETS]
