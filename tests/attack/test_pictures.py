"""Any file in a folder of pictures ends in a picture or in one reason, and in little memory."""

import io
import random
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib_rimo.errors import UserError
from lib_rimo.held_folders import HeldFolders
from lib_rimo.training.data.folders import find_folders, unused_folders
from lib_rimo.training.data.image_files import SUFFIXES, UnusablePictureError
from lib_rimo.training.data.picture_set import PictureSet
from lib_rimo.training.data.pictures import find_pictures, read_picture

KINDS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "TGA", "MPO", "AVIF", "ICO", "PCX", "PPM",
         "JPEG2000", "EPS", "SGI", "DDS", "IM", "PDF")  # fmt: skip
MODES = ("RGB", "RGBA", "L", "P", "1", "CMYK", "I;16", "LA", "F")


def odd_pictures(count, seed=0):
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
        fault = rng.choice(["none", "cut", "flipped", "sizes", "noise", "zeros", "twice", "text"])
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


def memory():
    """The most bytes that this process has held; it never falls."""
    resource = pytest.importorskip("resource", reason="needs a system that counts memory so")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def why_not(path):
    """Why a picture is left out; empty where it is used."""
    try:
        assert read_picture(path).rgb.mode == "RGB"
    except UnusablePictureError as error:
        return str(error)
    return ""


@pytest.mark.filterwarnings("ignore")
def test_every_reader_of_pictures_stands_any_file(tmp_path: Path, attack_scale: int) -> None:
    suffixes = sorted(SUFFIXES)
    folder = tmp_path.resolve()
    pictures = PictureSet(folder, HeldFolders(folder))
    before, used, left_out = memory(), 0, 0
    for number, (what, content) in enumerate(odd_pictures(100 * attack_scale)):
        path = folder / f"1{suffixes[number % len(suffixes)]}"
        path.write_bytes(content)
        reason = why_not(path)
        used += not reason
        left_out += bool(reason)
        assert len(reason) < 200, what
        assert [shown.name for shown in pictures.shown()] == [path.name], what
        path.unlink()
    assert used > 10
    assert left_out > 10
    assert memory() - before < 1 << 30


def test_no_picture_is_passed_over_in_silence(tmp_path: Path, attack_scale: int) -> None:
    rng = random.Random(0)
    names = ["10_rimo", "0_aside", "plain", "deep", "é莉", "3_b"]
    for number in range(20 * attack_scale):
        root = tmp_path / str(number)
        placed = set()
        for picture in range(rng.randint(1, 6)):
            folder = root.joinpath(*rng.sample(names, rng.randint(0, 3)))
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{picture}.png").touch()
            placed.add(folder)
        try:
            used = find_folders(root)
        except UserError:  # a sentence, and so not in silence
            continue
        found = {folder.path for folder in used if find_pictures(folder.path)}
        told = " ".join(message.text() for message in unused_folders(root, used))
        for folder in placed - found:
            assert folder.name.startswith("0_") or folder.name in told or folder == root, told
        assert root not in placed - found or "beside the numbered folders" in told
