"""Masks as the loss takes them: found with the pictures, as small as their latents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lib_rimo.errors import UserError
from lib_rimo.messages import Message
from lib_rimo.sd.size import LATENT_PIXELS
from lib_rimo.training.data.buckets import Fit
from lib_rimo.training.data.masks import NoMaskError, find_mask, widened
from lib_rimo.training.data.pictures import Picture


class MaskOptions(Protocol):
    """What finding masks reads of the options."""

    masked_loss: bool
    masked_training: bool
    conditioning_data_dir: str
    mask_expand_pixels: int


@dataclass
class LatentMasks:
    """Finds each picture's mask where masks are asked for, and remembers what to tell."""

    found: int = 0
    without: list[tuple[Path, Message]] = field(default_factory=list)
    """Pictures in which a subject was looked for in vain, and why."""

    def of(self, picture: Picture, fit: Fit, options: MaskOptions, *, guess: bool) -> Tensor | None:
        """The mask of a picture in its bucket, (1, h, w) in 0..1; none where all of it counts.

        Without `guess` only what the user made is one. Raises UserError: no such folder, a mask
        that cannot be used.
        """
        if not (options.masked_loss or options.masked_training):
            return None
        folder = Path(options.conditioning_data_dir) if options.conditioning_data_dir else None
        if folder is not None and not folder.is_dir():
            raise UserError(
                "There is no folder {folder}; give the folder that holds the masks.",
                folder=folder,
                about="conditioning_data_dir",
            )
        try:
            mask = find_mask(picture, folder=folder, guess=guess and options.masked_training)
        except NoMaskError as error:
            if guess and options.masked_training:
                self.without.append((picture.path, error.reason))
            return None
        self.found += 1
        return latent_mask(mask.image, fit, options.mask_expand_pixels)

    def messages(self, options: MaskOptions) -> Iterator[Message]:
        """Say what is trained on whole, though masks were asked for."""
        if options.masked_training and not self.found:
            yield Message(
                "masked_training does nothing: no picture has an alpha, a mask file or a plain "
                "background.",
                about="masked_training",
                level="warning",
            )
        elif options.masked_loss and not self.found:
            yield Message(
                "masked_loss does nothing: no picture has transparent parts or a mask file.",
                about="masked_loss",
                level="warning",
            )
        else:
            for path, reason in self.without:
                yield Message(
                    "No mask for {file}, so all of it counts: it {reason}.",
                    about=path.name,
                    level="warning",
                    file=path.name,
                    reason=reason,
                )


def latent_mask(mask: Image.Image, fit: Fit, expand_pixels: int) -> Tensor:
    """A mask (L) as large as its picture to its latents' size: (1, h, w) in 0..1.

    It is widened first by so many pixels of the training size in each direction, as OneTrainer
    widens the masks that it makes: a cell of latents at the subject's rim shows both, and a layer
    sees its neighbours too.
    """
    width, height = (side // LATENT_PIXELS for side in fit.bucket)
    box: tuple[float, float, float, float] | None = fit.box
    if expand_pixels:
        fitted = np.asarray(mask.resize(fit.bucket, Image.Resampling.BOX, box=box))
        mask, box = Image.fromarray(widened(fitted, expand_pixels)), None
    cells = mask.resize((width, height), Image.Resampling.BOX, box=box)
    return torch.from_numpy(np.array(cells))[None].float() / 255
