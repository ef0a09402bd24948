"""Pictures as nobody wants them, from a seed: of odd formats, cut, flipped, absurdly large."""

import io
import random
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from lib_rimo.held_folders import HeldFolders
from lib_rimo.training.data.image_files import SUFFIXES, UnusablePictureError
from lib_rimo.training.data.picture_set import PictureSet
from lib_rimo.training.data.pictures import read_picture
from tests.attack.tally import Tally

KINDS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "TGA", "MPO", "AVIF", "ICO", "PCX", "PPM",
         "JPEG2000", "EPS", "SGI", "DDS", "IM", "PDF")  # fmt: skip
FAULTS = ("none", "cut", "flipped", "sizes", "noise", "zeros", "twice", "text")
MODES = ("RGB", "RGBA", "L", "P", "1", "CMYK", "I;16", "LA", "F")


def odd_pictures(count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """(what is odd about it, the file's content), the same ones for the same seed."""
    rng = random.Random(seed)
    squares = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    whole = Image.fromarray(squares).resize((96, 96), 0)
    for number in range(count):
        kind, mode = rng.choice(KINDS), rng.choice(MODES)
        buffer = io.BytesIO()
        try:
            image = whole.convert("L").convert("F" if mode == "F" else "I;16")
            image = image if mode in ("F", "I;16") else whole.convert(mode)
            image.save(buffer, kind)
        except (OSError, ValueError, KeyError):  # a mode that this format has not
            buffer = io.BytesIO()
            whole.save(buffer, kind)
        content = bytearray(buffer.getvalue())
        fault = FAULTS[number % len(FAULTS)]
        if fault == "cut":
            content = content[: rng.randrange(len(content))]
        elif fault == "flipped":
            for _ in range(rng.randint(1, 20)):
                content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        elif fault == "sizes":  # somewhere in the header a side becomes huge
            place = rng.randrange(min(60, len(content) - 4))
            content[place : place + 4] = rng.choice([b"\xff" * 4, b"\0\0\xff\xff", b"\x7f" * 4])
        elif fault == "noise":
            start = rng.randrange(len(content))
            content[start:] = rng.randbytes(len(content) - start)
        elif fault == "zeros":
            content[20:] = bytes(len(content) - 20)
        elif fault == "twice":
            content = content + content
        elif fault == "text":
            content = bytearray(b"<?xml version='1.0'?>" + bytes(content))
        yield f"{number}: {kind} {mode} {fault}", bytes(content)


MOST_MEMORY = 1 << 30  # bytes more than before, of all pictures


def attack(count: int, seed: int, folder: Path) -> Tally:
    """`count` pictures of every kind of damage, read for a training and shown on the page.

    Each has to be used, or left out for one reason that is said; lost is one passed over.
    """
    tally = Tally()
    suffixes = sorted(SUFFIXES)
    folder = folder.resolve()
    pictures = PictureSet(folder, HeldFolders(folder))
    before = memory()
    for number, (what, content) in enumerate(odd_pictures(count * len(FAULTS), seed)):
        path = folder / f"1{suffixes[number % len(suffixes)]}"
        path.write_bytes(content)
        reason = ""
        with warnings.catch_warnings(), tally.expecting_sentences(what):
            warnings.simplefilter("ignore")
            try:
                mode = read_picture(path).rgb.mode
                tally.tried["used"] += 1
                if mode != "RGB":
                    tally.fail("not identical", f"{mode} instead of RGB: {what}")
            except UnusablePictureError as error:
                reason = str(error)
                tally.tried["left out"] += 1
            if len(reason) >= 200:
                tally.fail("escapes", f"{reason} for {what}")
            if [shown.name for shown in pictures.shown()] != [path.name]:
                tally.fail("lost", what)
        path.unlink()
        tally.tried["pictures"] += 1
    tally.measure("MB of memory", (memory() - before) >> 20)
    if memory() - before > MOST_MEMORY:
        tally.fail("over the bound", f"{(memory() - before) >> 20} MB of memory")
    return tally


def memory() -> int:
    """The most bytes that this process has held; it never falls. 0 where nobody counts them."""
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
