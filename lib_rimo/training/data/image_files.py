"""Opening picture files of any kind: which formats, how large, and what others are called.

Every picture that comes from outside goes through here. Pillow left to itself tries some forty
formats on any file: a .png that is FITS inside takes gigabytes, an EPS starts Ghostscript.
"""

from __future__ import annotations

import importlib
import io
import stat
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from lib_rimo.errors import UserError
from lib_rimo.held_folders import open_file
from lib_rimo.messages import Message

FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "BMP", "DIB", "GIF", "TIFF", "TGA", "AVIF")
"""What is read, by content and not by name; others are named where something can read them."""

SUFFIXES = frozenset(
    {
        *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".webp", ".bmp", ".dib"),
        *(".gif", ".tif", ".tiff", ".tga", ".avif", ".heic", ".heif", ".hif", ".jxl", ".jp2"),
        *(".j2k", ".psd", ".psb", ".xcf", ".kra", ".ico", ".icns", ".svg", ".eps", ".exr"),
        *(".hdr", ".dds", ".pcx", ".ppm", ".pgm", ".pbm", ".pnm", ".qoi", ".fits"),
    }
)
"""Endings of files that their owner takes for pictures; whether they can be used, content says."""

LARGEST_FILE = 256 << 20
"""Bytes; a whole scan of a poster is below it."""
MOST_PIXELS = 90_000_000
"""Of a picture; decoded, with alpha, 360 MB."""
_MOVING = {"GIF", "WEBP", "PNG", "AVIF"}
"""Formats whose frames are an animation; in others they are pages, layers or the second eye's."""

# Read where somebody installed Pillow's plugin for them: format, module, what registers it.
_PLUGINS = {"HEIF": ("pillow_heif", "register_heif_opener"), "JXL": ("pillow_jxl", "")}

_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"8BPS", "PSD"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftyphev", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (4, b"ftypmsf1", "HEIC"),
    (0, b"gimp xcf", "XCF"),
    (0, b"%!PS", "EPS"),
    (0, b"%PDF", "PDF"),
    (0, b"SIMPLE  =", "FITS"),
    (0, b"\x76\x2f\x31\x01", "EXR"),
    (0, b"#?RADIANCE", "HDR"),
    (0, b"DDS ", "DDS"),
    (0, b"qoif", "QOI"),
    (0, b"\x00\x00\x01\x00", "ICO"),
    (0, b"icns", "ICNS"),
    (0, b"PK\x03\x04", "ZIP"),
    (0, b"<svg", "SVG"),
    (0, b"<?xml", "SVG"),
    (4, b"ftyp", "MP4"),
    (0, b"\x1aE\xdf\xa3", "MKV"),
)


class UnusablePictureError(Exception):
    """Why a picture is left out: a phrase that can follow its name."""

    def __init__(self, template: str, **values: Any) -> None:
        self.reason = Message(template, level="warning", **values)
        super().__init__(self.reason.text())


def read_file(path: Path) -> bytes:
    """The content of a picture's file; raises UnusablePictureError before reading a huge one."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for, a device never ends
            raise UnusablePictureError("is no file")
        if found.st_size > LARGEST_FILE:
            raise UnusablePictureError(
                "is too large a file ({size} MB; {most} MB are the most); save it smaller",
                size=found.st_size >> 20,
                most=LARGEST_FILE >> 20,
            )
        with open_file(path) as file:
            return file.read(LARGEST_FILE)
    except OSError as error:
        raise UnusablePictureError(
            "cannot be read ({error})", error=error.strerror or type(error).__name__
        ) from error


def decode(content: bytes) -> Image.Image:
    """The picture in a file's content: its first frame, upright, in whatever mode it has.

    Raises UnusablePictureError for what is none of FORMATS, broken, animated, or of so many pixels
    that decoding it could exhaust the memory, which the header alone decides.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _open(content) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise UnusablePictureError(
                        "has too many pixels to be read safely; make it smaller"
                    )
                if image.format in _MOVING and getattr(image, "is_animated", False):
                    raise UnusablePictureError("is animated")
                image.load()
                with suppress(Exception):  # whatever damaged EXIF raises: it is not the picture
                    return ImageOps.exif_transpose(image)
                return image.copy()
    except (UnusablePictureError, MemoryError):
        raise
    except Exception as error:  # Pillow's readers raise whatever a broken file makes them raise.
        raise UnusablePictureError("cannot be read ({error})", error=_first_words(error)) from error


def open_image(path: Path) -> Image.Image:
    """The picture in a file, decoded, of any size; raises UserError."""
    try:
        return decode(read_file(path))
    except UnusablePictureError as error:
        raise UserError(
            "{file} {reason}.", file=path.name, reason=error.reason, about=path.name
        ) from None


def _open(content: bytes) -> Image.Image:
    """Open by content, as one of the formats wanted; raises UnusablePictureError for others."""
    kind = _named(content)
    # A TGA begins with nothing of its own: much else could be read as one.
    formats = [name for name in _formats() if name != "TGA" or not kind]
    try:
        return Image.open(io.BytesIO(content), formats=formats)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnusablePictureError(
            "has too many pixels to be read safely; make it smaller"
        ) from None
    except UnidentifiedImageError:
        if not content:
            raise UnusablePictureError("cannot be read (it is empty)") from None
        if kind:
            raise UnusablePictureError(
                "is {kind} inside, which is not read here; save it as PNG", kind=kind
            ) from None
        raise UnusablePictureError("cannot be read (it is no picture)") from None


@lru_cache(maxsize=1)
def _formats() -> tuple[str, ...]:
    """The wanted formats that this Pillow reads, with those of plugins that are installed."""
    Image.init()
    for module, register in _PLUGINS.values():
        with suppress(Exception):  # none there, or one of another Pillow
            plugin = importlib.import_module(module)
            opener: Callable[[], object] | None = getattr(plugin, register, None)
            if opener is not None:
                opener()
    return tuple(name for name in (*FORMATS, *_PLUGINS) if name in Image.OPEN)


def _named(content: bytes) -> str:
    """What a file is that is none of the formats; empty where nobody knows."""
    begin = content[:64].lstrip(b"\xef\xbb\xbf \r\n\t")
    for offset, signature, name in _SIGNATURES:
        if (begin if offset == 0 else content).startswith(signature, offset):
            return name
    return ""


def _first_words(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:80]
