"""Pictures come in upright, in RGB, with the alpha apart - or are left out with the reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib_rimo.training.data import image_files
from lib_rimo.training.data.image_files import UnusablePictureError
from lib_rimo.training.data.pictures import find_pictures, read_picture, read_pictures


def noise(size: tuple[int, int] = (80, 120), seed: int = 0) -> Image.Image:
    squares = np.random.default_rng(seed).integers(0, 256, (6, 4, 3), dtype=np.uint8)
    return Image.fromarray(squares).resize(size, Image.Resampling.NEAREST)


def test_exif_rotation_is_honoured(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x112] = 6  # to be turned a quarter clockwise
    image = noise()
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "1.png", exif=exif)
    picture = read_picture(tmp_path / "1.png")
    assert picture.size == image.size
    assert picture.rgb.tobytes() == image.tobytes()


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "1"])
def test_opaque_pictures_have_no_alpha(tmp_path: Path, mode: str) -> None:
    suffix = "tif" if mode == "CMYK" else "png"
    noise().convert(mode).save(tmp_path / f"1.{suffix}")
    picture = read_picture(tmp_path / f"1.{suffix}")
    assert (picture.rgb.mode, picture.alpha) == ("RGB", None)


def test_sixteen_bits_of_grey_keep_their_range(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 100 * 100).reshape(100, 100).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "1.png")
    grey = np.asarray(read_picture(tmp_path / "1.png").rgb)[..., 0].astype(int)
    assert np.abs(grey - ramp // 256).max() <= 1


def test_transparent_parts_are_white_and_marked(tmp_path: Path) -> None:
    image = noise().convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 80, 40))
    image.save(tmp_path / "1.png")
    picture = read_picture(tmp_path / "1.png")
    assert picture.rgb.getpixel((5, 5)) == (255, 255, 255)
    assert picture.alpha is not None
    assert (picture.alpha.getpixel((5, 5)), picture.alpha.getpixel((5, 100))) == (0, 255)
    assert picture.rgb.getpixel((5, 100)) == noise().getpixel((5, 100))


def test_a_palette_with_a_transparent_colour_is_marked(tmp_path: Path) -> None:
    image = noise().quantize(8)
    image.save(tmp_path / "1.png", transparency=image.getpixel((0, 0)))
    picture = read_picture(tmp_path / "1.png")
    assert picture.alpha is not None
    assert picture.alpha.getpixel((0, 0)) == 0


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("text.png", "cannot be read"),
        ("cut.png", "cannot be read"),
        ("empty.jpg", "cannot be read"),
        ("moving.gif", "animated"),
        ("tiny.png", "tiny"),
        ("huge.png", "too many pixels"),
        ("blank.png", "one colour"),
        ("layers.psd", "PSD inside"),
        ("fits.png", "FITS inside"),
        ("drawn.svg", "SVG inside"),
        ("phone.heic", "HEIC inside"),
        ("new.jxl", "JPEG XL inside"),
        ("icon.png", "ICO inside"),
        ("printed.png", "EPS inside"),
    ],
)
def test_what_cannot_be_used_says_why(
    tmp_path: Path, name: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.jpg").touch()
    noise().save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    noise().save(tmp_path / "moving.gif", save_all=True, append_images=[noise(seed=1)])
    noise((63, 200)).save(tmp_path / "tiny.png")
    Image.new("RGB", (100, 100), "red").save(tmp_path / "blank.png")
    noise((400, 400)).save(tmp_path / "huge.png")
    (tmp_path / "layers.psd").write_bytes(b"8BPS\0\1" + bytes(50))
    (tmp_path / "fits.png").write_bytes(b"SIMPLE  =                    T" + bytes(50))
    (tmp_path / "drawn.svg").write_text("<svg/>")
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (tmp_path / "new.jxl").write_bytes(b"\xff\x0a\xfa\x7f")
    noise().save(tmp_path / "icon.png", "ICO")
    noise().save(tmp_path / "printed.png", "EPS")
    if name == "huge.png":
        monkeypatch.setattr(image_files, "MOST_PIXELS", 100_000)
    with pytest.raises(UnusablePictureError, match=reason):
        read_picture(tmp_path / name)


def test_content_and_not_the_name_says_what_a_picture_is(tmp_path: Path) -> None:
    image, other = noise(), noise(seed=1)
    for name, kind, more in [
        ("a.jfif", "JPEG", {}),
        ("b.png", "JPEG", {}),
        ("c.tga", "TGA", {}),
        ("d.jpg", "MPO", {"save_all": True, "append_images": [other.copy()]}),
        ("e.tif", "TIFF", {"save_all": True, "append_images": [other.copy()]}),
        ("f.bmp", "WEBP", {"lossless": True}),
    ]:
        image.copy().save(tmp_path / name, kind, **more)
    for path in find_pictures(tmp_path):
        difference = np.abs(np.asarray(read_picture(path).rgb, int) - np.asarray(image, int))
        assert difference.mean() < 8, path.name  # the first frame
    assert len(find_pictures(tmp_path)) == 6


def test_a_file_too_large_is_left_out_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "1.png").open("wb") as file:
        file.truncate(image_files.LARGEST_FILE + 1)  # takes no room on the disk
    with pytest.raises(UnusablePictureError, match="too large a file"):
        read_picture(tmp_path / "1.png")


def test_the_same_picture_twice_is_read_once(tmp_path: Path) -> None:
    smooth = noise((240, 360)).resize((24, 36)).resize((240, 360), Image.Resampling.BICUBIC)
    smooth.save(tmp_path / "1.png")
    smooth.save(tmp_path / "2.jpg", quality=85)
    smooth.resize((480, 720)).save(tmp_path / "3.webp")
    changed = smooth.copy()
    changed.paste("red", (100, 100, 125, 125))
    changed.save(tmp_path / "4.png")
    pictures, left_out = read_pictures(find_pictures(tmp_path))
    assert [picture.path.name for picture in pictures] == ["1.png", "4.png"]
    assert [(path.name, str(reason)) for path, reason in left_out] == [
        ("2.jpg", "is the same picture as 1.png"),
        ("3.webp", "is the same picture as 1.png"),
    ]


def test_numbers_sort_as_numbers_and_other_files_are_passed_over(tmp_path: Path) -> None:
    for name in ("10.png", "9.PNG", "a.jpg", "._9.png", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in find_pictures(tmp_path)] == ["9.PNG", "10.png", "a.jpg"]
