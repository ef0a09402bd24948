"""Finds the subject of a picture whose background is detailed, by an ONNX model for drawings.

SkyTNT's anime-segmentation (IS-Net, Apache-2.0) on Hugging Face; `onnx_models` has how it comes
here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lib_rimo.training.data.onnx_models import OnnxModel

MODEL = OnnxModel("skytnt/anime-seg", ("isnetis.onnx",), "mask", 170)
_SIDE = 1024
"""Pixels of the square that a picture is laid into, where the model does not say its own."""


class Segmenter:
    """A loaded model: a picture to its subject's mask. Raises UserError where there is none."""

    def __init__(self, folder: Path) -> None:
        """Load `isnetis.onnx` of a folder."""
        self._session = MODEL.session(folder)
        (self._input, *others), outputs = self._session.get_inputs(), self._session.get_outputs()
        shape = self._input.shape
        if others or len(shape) != 4 or shape[1] != 3 or len(outputs[0].shape) != 4:
            raise MODEL.unusable(folder, f"its input is of shape {shape}")
        self.side = shape[2] if isinstance(shape[2], int) else _SIDE

    def __call__(self, picture: Image.Image) -> Image.Image:
        """The mask (L, as large as the picture): 255 where the subject covers a pixel."""
        scale = self.side / max(picture.size)
        width, height = (max(1, round(length * scale)) for length in picture.size)
        left, top = (self.side - width) // 2, (self.side - height) // 2
        square = Image.new("RGB", (self.side, self.side))
        square.paste(picture.convert("RGB").resize((width, height)), (left, top))
        pixels = np.asarray(square, np.float32).transpose(2, 0, 1)[None] / 255
        found: Any = self._session.run(None, {self._input.name: pixels})[0]
        covered = np.clip(found[0, 0, top : top + height, left : left + width], 0, 1)
        mask = Image.fromarray(np.asarray(np.round(covered * 255), np.uint8))
        return mask.resize(picture.size, Image.Resampling.BILINEAR)
