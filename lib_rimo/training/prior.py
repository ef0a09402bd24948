"""What the base model predicts without the LoRA, for a loss that holds on to it."""

from __future__ import annotations

import torch
from torch import Tensor

from lib_rimo.messages import Tell
from lib_rimo.training.caption_encoder import CaptionEncoder
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
        self, caption_encoder: CaptionEncoder, network: Network, masking: Masking, tell: Tell
    ) -> None:
        self.network = network
        self.masking = masking
        # Text encoders that are not trained say the same: what is remembered is shared.
        self.caption_encoder = (
            caption_encoder.untrained() if caption_encoder.trained else caption_encoder
        )
        self.denoiser = Denoiser(self.caption_encoder)
        with network.off():  # whose parameters no recording is to know
            self.replay = Replay(self.denoiser, tell)

    @torch.no_grad()
    def predict(
        self, batch: Batch, step: int, latents: Tensor, timesteps: Tensor, *, is_replayed: bool
    ) -> PriorPrediction | None:
        """For noised latents (B, C, h, w) and timesteps (B,); None where nothing is held on to."""
        weights = {row: self._weights(batch, row, step, latents) for row in range(len(latents))}
        chosen = [row for row, weight in weights.items() if weight is not None]
        if not chosen:
            return None
        device = latents.device
        rows = torch.tensor(chosen, device=device)
        alone = torch.tensor([row for row in chosen if batch.is_prior[row]], dtype=torch.long)
        predict = self.replay if is_replayed else self.denoiser
        with self.network.off():
            text = self.caption_encoder.inputs(batch, device)
            prediction = predict(*(part[rows] for part in (latents, timesteps, *text)))
        stacked = torch.stack([weight for weight in weights.values() if weight is not None])
        return PriorPrediction(rows, prediction, stacked.to(device), alone.to(device))

    def _weights(self, batch: Batch, row: int, step: int, latents: Tensor) -> Tensor | None:
        """How much a picture's prior counts, (1, h, w); None where it is not asked for.

        Behind a subject it has to be the picture's turn, and there has to be something.
        """
        if batch.is_prior[row]:
            return torch.full((1, *latents.shape[2:]), self.masking.prior_prediction_weight)
        if batch.masks is None or (batch.slots[row] + step) % PRIOR_EVERY:
            return None
        (outside,) = self.masking.outside(batch.masks[row : row + 1])
        return PRIOR_EVERY * outside if outside.any() else None
