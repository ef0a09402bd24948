"""Whether a picture stands on one colour, told by its border; without OpenCV, as hosts may be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SAME_COLOUR = 16
"""Of 255, in every channel: a border that differs by less is plain."""


def plain_background(pixels: NDArray[np.uint8]) -> NDArray[np.int16] | None:
    """Return the colour (3,) of a plain background, None for any other; pixels (h, w, 3).

    It fills most of the border and all four corners; a character may reach over an edge.
    """
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]).astype(np.int16)
    colour = np.asarray(np.median(border, axis=0), np.int16)
    if (np.abs(border - colour).max(axis=1) <= SAME_COLOUR).mean() < 0.6:
        return None
    height, width = (max(1, side // 20) for side in pixels.shape[:2])
    for rows in (pixels[:height], pixels[-height:]):
        for corner in (rows[:, :width], rows[:, -width:]):
            if np.abs(np.median(corner, axis=(0, 1)) - colour).max() > SAME_COLOUR:
                return None
    return colour
