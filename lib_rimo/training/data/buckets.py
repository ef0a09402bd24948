"""Aspect-ratio buckets: pictures of any shape in batches of one shape, never stretched."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lib_rimo.errors import UserError
from lib_rimo.sd.size import LATENT_PIXELS, Size


@dataclass(frozen=True)
class Fit:
    """The part of a picture that fills its bucket: scaled in both directions alike."""

    size: Size
    """The picture's own."""
    bucket: Size
    box: tuple[float, float, float, float]
    """Left, top, right, bottom in the picture; as wide for its height as the bucket."""

    @property
    def scale(self) -> float:
        """Bucket pixels for one picture pixel; above 1 the picture is enlarged."""
        return self.bucket[0] / (self.box[2] - self.box[0])

    @property
    def cropped(self) -> float:
        """The share of the picture that is outside the box."""
        left, top, right, bottom = self.box
        return 1 - (right - left) * (bottom - top) / (self.size[0] * self.size[1])

    def crop_top_left(self, flipped: bool) -> tuple[int, int]:
        """Rows and columns cut off at the top and left after resizing, as SDXL is told."""
        left = self.size[0] - self.box[2] if flipped else self.box[0]
        return round(self.box[1] * self.scale), round(left * self.scale)


def cover(size: Size, bucket: Size) -> Fit:
    """Fill the bucket with the largest middle part of the picture that has its shape."""
    scale = max(bucket[0] / size[0], bucket[1] / size[1])
    width, height = min(bucket[0] / scale, size[0]), min(bucket[1] / scale, size[1])
    left, top = (size[0] - width) / 2, (size[1] - height) / 2
    return Fit(size, bucket, (left, top, left + width, top + height))


@dataclass(frozen=True)
class Buckets:
    """Which bucket a picture goes into; the fields are kohya's options."""

    resolution: Size
    enable_bucket: bool = True
    min_bucket_reso: int = 256
    max_bucket_reso: int = 1024
    bucket_reso_steps: int = 64
    bucket_no_upscale: bool = False

    def __post_init__(self) -> None:
        if self.bucket_reso_steps <= 0 or self.bucket_reso_steps % LATENT_PIXELS:
            raise UserError(
                "bucket_reso_steps is {value}; give a multiple of {step}, usually 64.",
                value=self.bucket_reso_steps,
                step=LATENT_PIXELS,
                about="bucket_reso_steps",
            )

    @property
    def sizes(self) -> list[Size]:
        """The shapes to choose from when a picture may be enlarged.

        They are the resolution itself, and what has at most its area in whole steps.
        """
        if not self.enable_bucket:
            return [self.resolution]
        step = self.bucket_reso_steps
        area = self.resolution[0] * self.resolution[1]
        # Bounds meant for 512 and more must not shut out a small model's own resolution.
        least = min(self.min_bucket_reso, *self.resolution)
        most = max(self.max_bucket_reso, *self.resolution)
        first, last = math.ceil(least / step) * step, most // step * step
        square = int(math.sqrt(area)) // step * step
        found = {self.resolution}
        if square:
            found.add((square, square))
        for one in range(first, last + 1, step):
            other = min(last, area // one // step * step)
            if other >= first:
                found |= {(one, other), (other, one)}
        return sorted(found)

    def fit(self, size: Size) -> Fit:
        """Choose the bucket for a picture of this size, and the part of it that fills it."""
        if self.enable_bucket and self.bucket_no_upscale:
            return cover(size, self._without_upscale(size))
        aspect = math.log(size[0] / size[1])
        closest = min(
            self.sizes,
            # Of two shapes equally close the larger, so that nothing is lost to rounding.
            key=lambda bucket: (
                round(abs(math.log(bucket[0] / bucket[1]) - aspect), 9),
                -bucket[0] * bucket[1],
            ),
        )
        return cover(size, closest)

    def _without_upscale(self, size: Size) -> Size:
        """Shrink to the resolution's area where larger, then cut down to whole steps.

        As in kohya's trainer a shrunken picture has one side in whole steps: of the two ways to do
        that the one whose bucket is closer to the picture's shape.
        """
        step = self.bucket_reso_steps

        def whole(side: float) -> int:
            return int(side + 0.5) // step * step

        area, shape = self.resolution[0] * self.resolution[1], size[0] / size[1]
        width, height = size
        if width * height > area:
            shrunk = math.sqrt(area * shape)
            by_width, by_height = whole(shrunk), whole(area / shrunk)
            ways = [
                (abs(by_width / max(whole(by_width / shape), 1e-9) - shape), 1),
                (abs(whole(by_height * shape) / max(by_height, 1e-9) - shape), 0),
            ]
            if min(ways)[1]:
                width, height = by_width, int(by_width / shape + 0.5)
            else:
                width, height = int(by_height * shape + 0.5), by_height
        return max(width // step * step, step), max(height // step * step, step)
