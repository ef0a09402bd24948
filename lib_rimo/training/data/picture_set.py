"""A folder of pictures with captions, as it is looked at and edited before a training."""

from __future__ import annotations

import base64
import io
import shutil
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageOps

from lib_rimo.errors import UserError
from lib_rimo.files import written_beside
from lib_rimo.messages import Message
from lib_rimo.training.data.captions import EXTENSIONS, read_caption
from lib_rimo.training.data.folders import find_folders
from lib_rimo.training.data.pictures import (
    SUFFIXES,
    UnusablePictureError,
    find_pictures,
    read_picture,
)

THUMBNAIL = 256  # pixels, the longest side


@dataclass(frozen=True)
class Shown:
    """One picture as the page shows it."""

    name: str
    """Its path inside the set, with forward slashes."""
    caption: str
    thumbnail: str
    """A data URL; empty where the picture cannot be used."""
    width: int
    height: int
    left_out: Message | None
    """Why the picture will be left out; none where it can be used."""


class PictureSet:
    """The pictures of one folder, or of kohya's 10_name folders in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def pictures(self) -> list[Path]:
        """All picture files; none where the folder is empty or missing."""
        if not self.folder.is_dir():
            return []
        try:
            folders = [folder.path for folder in find_folders(self.folder)]
        except UserError:
            return []
        return [file for folder in folders for file in find_pictures(folder)]

    def shown(self) -> list[Shown]:
        """Every picture with its caption and a thumbnail."""
        return [self._show(path) for path in self.pictures()]

    def _show(self, path: Path) -> Shown:
        thumbnail, width, height, left_out = _look(path, path.stat().st_mtime_ns)
        name = path.relative_to(self.folder).as_posix()
        return Shown(name, read_caption(path) or "", thumbnail, width, height, left_out)

    def path(self, name: str) -> Path:
        """The file of a picture; raises UserError for a name that is none of this set."""
        for path in self.pictures():
            if path.relative_to(self.folder).as_posix() == name:
                return path
        raise UserError(
            "There is no picture {name} in {folder}: look again.",
            name=name,
            folder=self.folder.name,
        )

    def add(self, name: str, content: bytes) -> None:
        """Put a picture, or the caption of one, into the folder; raises UserError for others."""
        plain = Path(name.replace("\\", "/")).name
        suffix = Path(plain).suffix.lower()
        if suffix not in SUFFIXES and suffix not in EXTENSIONS:
            raise UserError(
                "{file} is neither a picture nor a caption (.txt).", file=plain, about=plain
            )
        with written_beside(self.folder / plain) as beside:
            beside.write_bytes(content)
            if suffix in SUFFIXES:
                try:
                    read_picture(beside)
                except UnusablePictureError as error:
                    raise UserError(
                        "{file} {reason}; it was not taken.",
                        file=plain,
                        reason=error.reason,
                        about=plain,
                    ) from None

    def remove(self, name: str) -> None:
        """Delete a picture with its caption."""
        path = self.path(name)
        path.unlink()
        for extension in EXTENSIONS:
            path.with_suffix(extension).unlink(missing_ok=True)

    def set_caption(self, name: str, caption: str) -> None:
        """Write a picture's caption; the file goes where there is none left."""
        path = self.path(name)
        present = (path.with_suffix(extension) for extension in EXTENSIONS)
        file = next((file for file in present if file.exists()), path.with_suffix(".txt"))
        text = " ".join(caption.split())
        if not text:
            file.unlink(missing_ok=True)
            return
        with written_beside(file) as beside:
            beside.write_text(text + "\n", encoding="utf-8")

    def clear(self) -> None:
        """Delete the whole folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


@lru_cache(maxsize=1000)
def _look(path: Path, _time: int) -> tuple[str, int, int, Message | None]:
    """Thumbnail, width, height of a picture, or what is wrong; looked at again when it changed."""
    try:
        picture = read_picture(path)
    except UnusablePictureError as error:
        return "", 0, 0, error.reason
    return data_url(picture.rgb, THUMBNAIL), *picture.size, None


def data_url(image: Image.Image, longest: int) -> str:
    """A small JPEG of a picture, as an address that holds it."""
    small = ImageOps.contain(image.convert("RGB"), (longest, longest))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
