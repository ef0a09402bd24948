"""Any shape finds a bucket, is never stretched, and loses no more than it must."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_rimo.errors import UserError
from lib_rimo.training.data.buckets import Buckets, cover

sides = st.integers(64, 3000)
sizes = st.tuples(sides, sides)
steps = st.sampled_from([8, 32, 64])
resolutions = st.tuples(st.integers(8, 128), st.integers(8, 128)).map(
    lambda cells: (cells[0] * 8, cells[1] * 8)
)


@given(sizes, resolutions, steps, st.booleans(), st.booleans())
def test_the_box_lies_in_the_picture_and_has_the_buckets_shape(
    size: tuple[int, int], resolution: tuple[int, int], step: int, enabled: bool, no_upscale: bool
) -> None:
    buckets = Buckets(resolution, enabled, bucket_reso_steps=step, bucket_no_upscale=no_upscale)
    fit = buckets.fit(size)
    left, top, right, bottom = fit.box
    assert -1e-6 <= left < right <= size[0] + 1e-6
    assert -1e-6 <= top < bottom <= size[1] + 1e-6
    assert (right - left) * fit.bucket[1] == pytest.approx((bottom - top) * fit.bucket[0])
    # One of the two directions is shown whole.
    assert min(left, top) == pytest.approx(0, abs=1e-6)
    assert all(side > 0 and side % 8 == 0 for side in fit.bucket)


@given(sizes, resolutions, steps)
def test_buckets_are_whole_steps_within_the_resolutions_area(
    size: tuple[int, int], resolution: tuple[int, int], step: int
) -> None:
    bucket = Buckets(resolution, bucket_reso_steps=step).fit(size).bucket
    if bucket != resolution:
        assert bucket[0] % step == bucket[1] % step == 0
        assert bucket[0] * bucket[1] <= resolution[0] * resolution[1]


@given(sizes)
def test_without_buckets_all_have_the_resolution(size: tuple[int, int]) -> None:
    assert Buckets((448, 704), enable_bucket=False).fit(size).bucket == (448, 704)


@given(sizes, steps)
def test_no_upscale_never_enlarges(size: tuple[int, int], step: int) -> None:
    fit = Buckets((448, 704), bucket_reso_steps=step, bucket_no_upscale=True).fit(size)
    assert fit.scale <= 1 + 1e-9
    # kohya's trainer rounds one side to a whole pixel, then the other from that one, before both
    # are cut to steps: half a pixel more on each side at the most.
    assert fit.bucket[0] * fit.bucket[1] <= 448 * 704 + sum(fit.bucket)


def test_kohyas_buckets_for_512() -> None:
    # The shapes that kohya's trainer makes for these defaults.
    narrow = [
        (256, 832), (256, 896), (256, 960), (256, 1024), (320, 704), (320, 768), (384, 640),
        (448, 576),
    ]  # fmt: skip
    wide = [(height, width) for width, height in reversed(narrow)]
    assert sorted(Buckets((512, 512)).sizes) == sorted([*narrow, (512, 512), *wide])


@pytest.mark.parametrize(
    ("size", "bucket"),
    [
        ((448, 704), (448, 704)),
        ((896, 1408), (448, 704)),
        ((1000, 1000), (512, 512)),
        ((704, 448), (704, 448)),
        ((100, 3000), (256, 1024)),
    ],
)
def test_the_closest_shape_is_chosen(size: tuple[int, int], bucket: tuple[int, int]) -> None:
    assert Buckets((448, 704)).fit(size).bucket == bucket


@pytest.mark.parametrize(("size", "bucket"), [((128, 192), (128, 192)), ((192, 128), (192, 128))])
def test_a_small_models_resolution_is_a_bucket(
    size: tuple[int, int], bucket: tuple[int, int]
) -> None:
    assert Buckets((128, 192)).fit(size).bucket == bucket


def test_sdxl_is_told_what_was_cut_off() -> None:
    fit = cover((1200, 1000), (512, 512))
    assert fit.crop_top_left(flipped=False) == (0, 51)
    assert fit.cropped == pytest.approx(1 / 6)
    moved = type(fit)(fit.size, fit.bucket, (0.0, 0.0, 1000.0, 1000.0))
    assert moved.crop_top_left(flipped=False) == (0, 0)
    assert moved.crop_top_left(flipped=True) == (0, 102)


def test_steps_must_fit_the_latents() -> None:
    with pytest.raises(UserError, match="bucket_reso_steps"):
        Buckets((512, 512), bucket_reso_steps=10)


@pytest.mark.parametrize(
    ("size", "bucket"),
    [
        ((600, 800), (384, 512)),
        ((1000, 700), (576, 384)),
        ((1920, 1080), (640, 384)),
        ((333, 480), (320, 448)),
        ((2000, 500), (1024, 256)),
        ((512, 512), (512, 512)),
        ((768, 1344), (384, 640)),
        ((1023, 1025), (512, 512)),
    ],
)
def test_no_upscale_picks_the_buckets_of_kohyas_trainer(size, bucket):
    buckets = Buckets((512, 512), bucket_reso_steps=64, bucket_no_upscale=True)
    assert buckets.fit(size).bucket == bucket
