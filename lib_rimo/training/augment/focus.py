"""Where in a picture the character and its head are: a face detector, else saliency."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lib_rimo.training.data.masks import NoMaskError, find_mask
from lib_rimo.training.data.pictures import Picture

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""


@dataclass(frozen=True)
class Focus:
    """What crops are anchored on, in the picture's pixels."""

    subject: Box
    """The character, as far as it is in the picture."""
    head: Box
    """From the hair to the chin."""
    face_found: bool
    """Whether the head was seen by the face detector; else it is where saliency puts it."""


def find_focus(picture: Picture) -> Focus:
    """Find the character and its head. The same picture always gives the same boxes."""
    subject, head = _Silhouette(picture).boxes()
    face = find_face(picture.rgb)
    if face is None:
        return Focus(subject, head, face_found=False)
    head = _head_around(face, subject, picture.size)
    return Focus(_union(subject, head), head, face_found=True)


# The boxes of a face reach from the eyebrows to the chin. The head, as drawn in this style, is so
# much larger above and on each side, in heights of the face. Measured on drawings, not on people.
_HAIR_ABOVE, _HAIR_BESIDE = 0.7, 0.35
_LEAST_HAIR_ABOVE = 0.2
# The detector wavers with a picture's size, so it is shown several (longest sides, in pixels) and
# what it sees again and again counts. The largest is for small faces.
_DETECTOR_SIDES = (300, 352, 480, 704)
# How many of the detector's windows have to agree, over how many views: on 145 drawn characters
# it misses none; in as many lower halves of drawings it saw a face twice at 5 and 2.
_LEAST_WINDOWS, _LEAST_VIEWS = 6, 3
# The detector's square reaches from the forehead to below the chin; a face is so much of it.
_FACE_LEFT, _FACE_TOP, _FACE_RIGHT, _FACE_BOTTOM = 0.16, 0.1755, 0.835, 0.84
_CASCADE = Path(__file__).with_name("lbpcascade_animeface.xml")


def find_face(image: Image.Image) -> Box | None:
    """Find the surest and largest face: from the eyebrows to the chin; None where there is none."""
    seen: list[tuple[int, int, Box]] = []  # windows that agree, view, face
    for number, (view, scale) in enumerate(_detector_views(image)):
        squares, windows = _face_detector().detectMultiScale2(view, minNeighbors=1)
        for (left, top, side, _), count in zip(squares, windows, strict=True):
            face = (
                (left + _FACE_LEFT * side) / scale,
                (top + _FACE_TOP * side) / scale,
                (left + _FACE_RIGHT * side) / scale,
                (top + _FACE_BOTTOM * side) / scale,
            )
            seen.append((int(count), number, face))
    groups = [[sight for sight in seen if _overlap(sight[2], face) > 0.4] for *_, face in seen]
    sure = [
        group
        for group in groups
        if sum(count for count, *_ in group) >= _LEAST_WINDOWS
        and len({number for _, number, _ in group}) >= _LEAST_VIEWS
    ]
    if not sure:
        return None
    best = max(sure, key=lambda group: sum(n * (box[2] - box[0]) for n, _, box in group))
    left, top, right, bottom = np.median([box for *_, box in best], axis=0).tolist()
    return (left, top, right, bottom)


def _detector_views(image: Image.Image) -> Iterator[tuple[NDArray[np.uint8], float]]:
    """Yield the picture as the detector gets it, (h, w), and its scale.

    As brightness, and as its blue alone with local contrast: pale hair and skin, which are of
    one brightness, part there.
    """
    contrast = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8))
    for side in _DETECTOR_SIDES:
        scale = side / max(image.size)
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        small = np.asarray(image.convert("RGB").resize(size))
        yield np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8), scale
        yield np.asarray(contrast.apply(small[..., 2].copy()), np.uint8), scale


def _overlap(one: Box, other: Box) -> float:
    """Return the area that both boxes have over the area that either has."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(0.0, width) * max(0.0, height)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return both / (sum(areas) - both)


def _head_around(face: Box, subject: Box, size: tuple[int, int]) -> Box:
    """Add the hair: as far up as the character's outline if that can be the hair's."""
    left, top, right, bottom = face
    height = bottom - top
    highest, lowest = top - _HAIR_ABOVE * height, top - _LEAST_HAIR_ABOVE * height
    return (
        max(0.0, left - _HAIR_BESIDE * height),
        max(0.0, subject[1] if highest <= subject[1] <= lowest else highest),
        min(float(size[0]), right + _HAIR_BESIDE * height),
        min(float(size[1]), bottom),
    )


@lru_cache(maxsize=1)
def _face_detector() -> Any:
    """Return nagadomi's cascade for drawn faces (2011, MIT; its licence is in the file)."""
    cascade = cv2.CascadeClassifier(str(_CASCADE))
    assert not cascade.empty(), f"{_CASCADE} could not be read"
    return cascade


class _Silhouette:
    """The character cut out roughly: by its mask, or saliency and GrabCut where there is none."""

    SIDE = 192
    """Longest side of the small picture this is done on; details only distract."""

    def __init__(self, picture: Picture) -> None:
        scale = self.SIDE / max(picture.size)
        size = (max(8, round(picture.size[0] * scale)), max(8, round(picture.size[1] * scale)))
        self.zoom = picture.size[0] / size[0], picture.size[1] / size[1]
        self.pixels = np.asarray(picture.rgb.resize(size, Image.Resampling.BOX))  # (h, w, 3)
        self.saliency = self._saliency()  # (h, w) in 0..1
        try:
            found = find_mask(picture).image.resize(size, Image.Resampling.BOX)
            self.mask = self._main_part(np.asarray(found) > 127)
        except NoMaskError:
            self.mask = self._main_part(self._grab_cut())

    def boxes(self) -> tuple[Box, Box]:
        """Return the subject and the head that saliency suggests."""
        rows, columns = np.nonzero(self.mask)
        left, right = float(columns.min()), float(columns.max() + 1)
        top, bottom = float(rows.min()), float(rows.max() + 1)
        height = bottom - top
        # Of a character that the lower edge cuts, the head is a larger part.
        part = 0.7 if bottom >= self.mask.shape[0] - 2 else 0.5
        # Eyes, mouth and what is worn in the hair stand out most in the upper part of a
        # character: their middle is about the head's.
        upper = (self.saliency * self.mask)[: int(top + part * height) + 1] ** 2
        weight = max(float(upper.sum()), 1e-9)
        center_x = float((upper.sum(axis=0) * np.arange(upper.shape[1])).sum()) / weight
        center_y = float((upper.sum(axis=1) * np.arange(upper.shape[0])).sum()) / weight
        head_height = min(max(2 * (center_y - top), 0.15 * height), 0.9 * part * height)
        head_top = max(top, center_y - 0.5 * head_height)
        half = min(head_height, right - left) / 2
        head = (center_x - half, head_top, center_x + half, head_top + head_height)
        return self._enlarged((left, top, right, bottom)), self._enlarged(head)

    def _enlarged(self, box: Box) -> Box:
        height, width = self.mask.shape
        left, top, right, bottom = box
        return (
            max(0.0, left) * self.zoom[0],
            max(0.0, top) * self.zoom[1],
            min(float(width), right) * self.zoom[0],
            min(float(height), bottom) * self.zoom[1],
        )

    def _saliency(self) -> NDArray[np.float32]:
        """Spectral residual (Hou and Zhang 2007), at the size it was proposed for."""
        height, width = self.pixels.shape[:2]
        small = cv2.resize(self.pixels, (64, 64), interpolation=cv2.INTER_AREA)
        grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float64)
        spectrum = np.fft.fft2(grey)
        magnitude = np.log(np.maximum(np.abs(spectrum), 1e-6))
        residual = magnitude - cv2.blur(magnitude, (3, 3))
        signal = np.fft.ifft2(np.exp(residual + 1j * np.angle(spectrum)))
        saliency = cv2.GaussianBlur(np.abs(signal).astype(np.float32), (5, 5), 8) ** 2
        if not np.isfinite(saliency).all() or saliency.max() <= 0:
            return np.ones((height, width), np.float32)
        smooth = cv2.GaussianBlur(
            cv2.resize(saliency, (width, height)), (0, 0), max(height, width) / 24
        )
        return np.asarray(smooth / smooth.max(), np.float32)

    def _grab_cut(self) -> NDArray[np.bool_]:
        """Grow the most salient part to what has its colours, shrink the rest to the border's."""
        height, width = self.saliency.shape
        mask = np.full((height, width), cv2.GC_PR_BGD, np.uint8)
        mask[self.saliency > np.quantile(self.saliency, 0.7)] = cv2.GC_PR_FGD
        border = max(1, width // 40)
        mask[:border] = mask[:, :border] = mask[:, -border:] = cv2.GC_BGD
        if not (mask == cv2.GC_PR_FGD).any():
            return np.ones((height, width), np.bool_)
        cv2.setRNGSeed(0)  # GrabCut starts from random colour clusters.
        models = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.grabCut(self.pixels[..., ::-1].copy(), mask, None, *models, 4, cv2.GC_INIT_WITH_MASK)
        return np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD))

    def _main_part(self, foreground: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Keep the most salient connected part, and what belongs above and below it."""
        cleaned = cv2.morphologyEx(
            foreground.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)
        )
        count, labels, boxes, _ = cv2.connectedComponentsWithStats(cleaned)
        weights = [float(self.saliency[labels == label].sum()) for label in range(1, count)]
        if not weights:
            return np.ones_like(foreground)
        main = int(np.argmax(weights)) + 1
        left, top, right, bottom = _edges(boxes[main])
        reach = 0.15 * (bottom - top)
        kept = [main]
        for label in range(1, count):
            its_left, its_top, its_right, its_bottom = _edges(boxes[label])
            overlap = min(right, its_right) - max(left, its_left)
            if (
                weights[label - 1] > 0.05 * weights[main - 1]
                and overlap > 0.5 * (its_right - its_left)
                and its_top < bottom + reach
                and its_bottom > top - reach
            ):
                kept.append(label)
        return np.asarray(np.isin(labels, kept))


def _edges(statistics: NDArray[np.int32]) -> tuple[int, int, int, int]:
    """Turn OpenCV's left, top, width, height, area into left, top, right, bottom."""
    left, top, width, height = (int(value) for value in statistics[:4])
    return left, top, left + width, top + height


def _union(one: Box, other: Box) -> Box:
    return (
        min(one[0], other[0]),
        min(one[1], other[1]),
        max(one[2], other[2]),
        max(one[3], other[3]),
    )
