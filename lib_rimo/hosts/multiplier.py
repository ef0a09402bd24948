"""A LoRA's strength that is a plain number to the host and knows its blocks."""

from __future__ import annotations

import hashlib
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from lib_rimo.weights.block_weights import BlockWeights
from lib_rimo.weights.strength import factor_at

if TYPE_CHECKING:
    from typing_extensions import Self

_ALL_ONES = BlockWeights()


class BlockMultiplier(float):
    """A strength that also answers "for this layer?".

    Hosts keep strengths in tuples and strings by which they tell whether a picture's LoRAs are the
    ones already merged, so equality, hash and `repr` take the blocks in.
    """

    blocks: BlockWeights
    family: str

    def __new__(cls, strength: float, blocks: BlockWeights, family: str) -> Self:
        """`family` is the checkpoint's, "sd1", "sd2" or "sdxl"."""
        multiplier = super().__new__(cls, strength)
        multiplier.blocks = blocks
        multiplier.family = family
        return multiplier

    def at(self, layer: str) -> float:
        """The strength at a layer, given by its name in the host or its key in a file."""
        return float(self) * factor_at(self.blocks, layer, self.family)

    def _identity(self) -> tuple[Any, ...]:
        """What it was made of: equal for those that are equal, and enough to make a copy."""
        return float(self), self.blocks, self.family

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BlockMultiplier) and self._identity() == other._identity()

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self._identity())

    def __repr__(self) -> str:
        return f"{float(self)!r}*{digest(self.blocks)}"

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return type(self), self._identity()


class TagMultiplier(BlockMultiplier):
    """The strength of one tag, which no other tag's is equal to, be it as strong."""

    tag: str

    def __new__(cls, strength: float, blocks: BlockWeights, family: str, tag: str) -> Self:
        """`tag` tells it from the prompt's others."""
        multiplier = super().__new__(cls, strength, blocks, family)
        multiplier.tag = tag
        return multiplier

    def _identity(self) -> tuple[Any, ...]:
        return *super()._identity(), self.tag

    def __repr__(self) -> str:
        return f"{super().__repr__()}*{self.tag}"


def multiplier_of(strength: float, blocks: BlockWeights | None, family: str) -> float:
    """A strength for the host: a plain number where the blocks change nothing."""
    if blocks is None or blocks == _ALL_ONES:
        return strength
    return _multiplier(strength, blocks, family)


@lru_cache(maxsize=256)
def _multiplier(strength: float, blocks: BlockWeights, family: str) -> BlockMultiplier:
    # Hosts compare strengths for every layer at every step; of one object that takes no time.
    return BlockMultiplier(strength, blocks, family)


def strength_at(multiplier: float, layer: str) -> float:
    """The strength of any multiplier, a host's plain one or Rimo's, at a layer."""
    return multiplier.at(layer) if isinstance(multiplier, BlockMultiplier) else multiplier


@cache
def digest(blocks: BlockWeights) -> str:
    """A short name for block weights, the same for equal ones."""
    return hashlib.sha256(str(blocks).encode()).hexdigest()[:16]
