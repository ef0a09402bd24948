"""The subject and what is behind it: masks, and what is learned where."""

from __future__ import annotations

from dataclasses import dataclass

from lib_rimo.training.config.declaration import option


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
