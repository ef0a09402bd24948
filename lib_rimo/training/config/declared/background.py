"""The subject and what is behind it: masks, and what is learned where."""

from __future__ import annotations

from dataclasses import dataclass

from lib_rimo.training.config.declaration import option

PRIOR_EVERY = 2
"""Behind the subject the base's prediction is asked for every second picture and counts twice: one
for each would make a step 1.5 times as long."""


@dataclass
class BackgroundOptions:
    """The options of the group `background`; names are kohya's and OneTrainer's."""

    masked_loss: bool = option(
        False,
        "Count the loss only where the picture's alpha is opaque or its mask file is white",
        "background",
    )
    masked_training: bool = option(
        False,
        "The same, and find the subject by itself where the background is plain",
        "background",
    )
    conditioning_data_dir: str = option(
        "", "Folder of mask files, each named like its picture", "background"
    )
    mask_expand_pixels: int = option(
        0,
        "Widen masks by so many pixels of the training size: the subject's rim is the subject's",
        "background",
        minimum=0,
        maximum=256,
        usual="0, or 8",
    )
    unmasked_weight: float = option(
        0.0,
        "Share of the loss that counts outside the mask",
        "background",
        minimum=0,
        maximum=1,
        usual="0 – 0.1",
    )
    normalize_masked_area_loss: bool = option(
        False, "Let small subjects count as much as large ones", "background"
    )
    masked_prior_preservation_weight: float = option(
        0.0,
        "Outside the mask learn what the base model draws there, this strongly; 0: do not",
        "background",
        minimum=0,
        usual="0, or 0.25 – 1",
    )
    prior_prediction_rate: float = option(
        0.0,
        "Share of pictures that teach nothing new: on a caption without the trigger word the model "
        "shall predict what it predicts without the LoRA",
        "background",
        minimum=0,
        maximum=0.9,
        usual="0, or 0.1 – 0.5",
    )
    prior_prediction_prompts: str = option(
        "",
        "Their captions: empty: those of the pictures; scenes: drawn from tags of places and "
        "looks; a text file with one a line",
        "background",
    )
    prior_prediction_min_timestep: int = option(
        0,
        "Their least noise, of 1000; under much of it the picture hardly shows",
        "background",
        minimum=0,
        maximum=999,
        usual="0, or 300 – 700",
    )
    prior_prediction_weight: float = option(1.0, "Weight of their loss", "background", minimum=0)
    reg_prior_prediction: bool = option(
        False,
        "Of regularisation pictures too learn what the base model predicts, not what they show",
        "background",
    )

    @property
    def prior_passes(self) -> float:
        """Forward passes without the LoRA for each picture of a batch, on the average."""
        has_masks = self.masked_loss or self.masked_training
        behind = 1 / PRIOR_EVERY if has_masks and self.masked_prior_preservation_weight else 0.0
        alone = max(self.prior_prediction_rate, 0.5 if self.reg_prior_prediction else 0.0)
        return alone + (1 - alone) * behind
