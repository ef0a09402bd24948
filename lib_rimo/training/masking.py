"""How much an error counts by its place: on the subject or behind it. Names are OneTrainer's."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

_LEAST_AREA = 0.02
"""Of a picture: the loss of a smaller part is not enlarged further."""


@dataclass(frozen=True)
class Masking:
    """What is made of masks; as it stands nothing outside of them counts."""

    unmasked_weight: float = 0.0
    normalize_masked_area_loss: bool = False
    masked_prior_preservation_weight: float = 0.0
    prior_prediction_weight: float = 1.0

    def inside(self, masks: Tensor) -> Tensor:
        """How much errors against the picture count, from masks (B, 1, h, w) in 0..1."""
        return self._normalized(masks.clamp(min=self.unmasked_weight))

    def outside(self, masks: Tensor) -> Tensor:
        """How much differences to what the base model predicts count, (B, 1, h, w)."""
        covered = masks.clamp(min=self.unmasked_weight)
        return self.masked_prior_preservation_weight * self._normalized(1 - covered)

    def _normalized(self, weights: Tensor) -> Tensor:
        """Where that is asked for, with the mean that a picture without a mask has: 1."""
        if not self.normalize_masked_area_loss:
            return weights
        return weights / weights.mean(dim=(1, 2, 3), keepdim=True).clamp(min=_LEAST_AREA)
