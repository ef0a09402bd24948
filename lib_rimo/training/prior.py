"""What the base model predicts without the LoRA, for a loss that holds on to it."""

from __future__ import annotations

import torch
from torch import Tensor

from lib_rimo.messages import Tell
from lib_rimo.training.conditioning import Conditioning
from lib_rimo.training.config.declared.background import PRIOR_EVERY
from lib_rimo.training.data.dataset import Batch
from lib_rimo.training.denoiser import Denoiser, Replay
from lib_rimo.training.masking import Masking
from lib_rimo.training.network.network import Network
from lib_rimo.training.objective import PriorPrediction


class Prior:
    """A forward pass without gradients and with the LoRA off, for the pictures that want it.

    Noise and timesteps are new in every step, and so is what is predicted. What the text encoders
    say without the LoRA is computed once for each caption.
    """

    def __init__(
        self, conditioning: Conditioning, network: Network, masking: Masking, tell: Tell
    ) -> None:
        self.network = network
        self.masking = masking
        # Text encoders that are not trained say the same: what is remembered is shared.
        self.conditioning = conditioning.untrained() if conditioning.trained else conditioning
        self.denoiser = Denoiser(self.conditioning)
        with network.off():  # whose parameters no recording is to know
            self.replay = Replay(self.denoiser, tell)

    @torch.no_grad()
    def predict(
        self, batch: Batch, step: int, latents: Tensor, timesteps: Tensor, *, is_replayed: bool
    ) -> PriorPrediction | None:
        """For noised latents (B, C, h, w) and timesteps (B,); None where nothing is held on to."""
        chosen = [row for row in range(len(latents)) if self._is_wanted(batch, row, step)]
        if not chosen or batch.masks is None:
            return None
        rows = torch.tensor(chosen)
        weights = PRIOR_EVERY * self.masking.outside(batch.masks[rows])
        predict = self.replay if is_replayed else self.denoiser
        with self.network.off():
            text = self.conditioning.inputs(batch, latents.device)
            rows, weights = rows.to(latents.device), weights.to(latents.device)
            parts = (part[rows] for part in (latents, timesteps, *text))
            return PriorPrediction(rows, predict(*parts), weights)

    def _is_wanted(self, batch: Batch, row: int, step: int) -> bool:
        """Whether it is the picture's turn, and there is anything outside of its mask."""
        if batch.masks is None or (batch.slots[row] + step) % PRIOR_EVERY:
            return False
        return bool(self.masking.outside(batch.masks[row : row + 1]).any())
