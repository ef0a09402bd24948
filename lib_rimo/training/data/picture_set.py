"""A folder of pictures with captions, as it is looked at and edited before a training."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageOps

from lib_rimo.errors import UserError
from lib_rimo.held_folders import HeldFolders, LeavesFolderError, reading_through
from lib_rimo.messages import Message
from lib_rimo.training.data.captions import EXTENSIONS, read_caption
from lib_rimo.training.data.folders import find_folders
from lib_rimo.training.data.image_files import SUFFIXES, UnusablePictureError, decode, open_image
from lib_rimo.training.data.masks import Mask, as_mask, find_mask, mask_beside
from lib_rimo.training.data.pictures import SHORTEST_SIDE, Picture, find_pictures, read_picture

THUMBNAIL = 256  # pixels, the longest side
LARGE = 1600
ASIDE = ".original-"
"""How the files are called, beside them, that keep pictures and masks as they were before a crop or
a brush.
"""


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
    """Why it will be left out, or what of its caption is to be mended; none where all is well."""


class PictureSet:
    """The pictures of one folder, or of kohya's 10_name folders in it.

    `folder` is a real path that `held` holds; what is a link to elsewhere is left out.
    """

    def __init__(self, folder: Path, held: HeldFolders) -> None:
        self.folder = folder
        self.held = held

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
        with reading_through(self.held):
            return [self._show(path) for path in self.pictures()]

    def _show(self, path: Path) -> Shown:
        name = path.relative_to(self.folder).as_posix()
        try:
            thumbnail, width, height, left_out = _look(path, path.stat().st_mtime_ns)
        except LeavesFolderError as error:
            return Shown(name, "", "", 0, 0, error.messages[0])
        try:
            caption = read_caption(path) or ""
        except UserError as error:  # what is typed in its place is written as UTF-8
            caption, left_out = "", left_out or error.messages[0]
        return Shown(name, caption, thumbnail, width, height, left_out)

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
        with reading_through(self.held):
            try:
                check = read_picture if suffix in SUFFIXES else None
                self.held.write(self.folder / plain, content, check)
            except UnusablePictureError as error:
                raise UserError(
                    "{file} {reason}; it was not taken.",
                    file=plain,
                    reason=error.reason,
                    about=plain,
                ) from None

    def large(self, name: str) -> str:
        """A picture as an address that holds it, large enough to judge it by."""
        return data_url(self._read(name).rgb, LARGE)

    def _read(self, name: str) -> Picture:
        try:
            with reading_through(self.held):
                return read_picture(self.path(name))
        except UnusablePictureError as error:
            raise UserError("{file} {reason}.", file=name, reason=error.reason) from None

    def mask(self, name: str) -> Mask:
        """A picture's subject; raises NoMaskError where there is none to be trusted."""
        picture = self._read(name)
        with reading_through(self.held):
            return find_mask(picture)

    def crop(self, name: str, box: tuple[float, float, float, float]) -> None:
        """Keep of a picture, and of its mask, what is inside a box; the whole ones are put aside.

        `box` is left, top, right, bottom in parts of the width and height. Raises UserError where
        too little would be left.
        """
        path = self.path(name)
        mask = mask_beside(path)
        for file in (path, mask) if mask.exists() else (path,):
            with reading_through(self.held):
                whole = ImageOps.exif_transpose(open_image(file))
            left, right = (round(part * whole.width) for part in (box[0], box[2]))
            top, bottom = (round(part * whole.height) for part in (box[1], box[3]))
            if file == path and min(right - left, bottom - top) < SHORTEST_SIDE:
                raise UserError(
                    "Too little would be left of {file}: draw a frame of {least} pixels or more.",
                    file=name,
                    least=SHORTEST_SIDE,
                )
            self._keep_aside(file)
            content = as_png(whole.crop((left, top, right, bottom)))
            self.held.write(file.with_suffix(".png"), content)
            if file.suffix != ".png":
                self.held.remove(file)

    def set_mask(self, name: str, content: bytes) -> None:
        """Write a picture's mask, a picture file's content; one from before is kept aside.

        Raises UserError for what is no picture, of another shape or leaves nothing to learn.
        """
        path = self.path(name)
        picture = self._read(name)
        if picture.alpha is not None:
            raise UserError(
                "The transparent parts of {name} are its mask: change them in an image editor.",
                name=name,
            )
        try:
            image = decode(content)
        except UnusablePictureError as error:
            raise UserError(
                "The mask {reason}; it was not taken.", reason=error.reason, about=name
            ) from None
        mask = as_mask(image, picture.size, mask_beside(path).name)
        if mask.getextrema()[1] == 0:
            raise UserError(
                "Nothing of {name} would count: white is what is learned, black is left out.",
                name=name,
            )
        self._keep_aside(mask_beside(path))
        self.held.write(mask_beside(path), as_png(mask))

    def forget_mask(self, name: str) -> None:
        """Take the mask file beside a picture away, so that the mask is found anew."""
        mask = mask_beside(self.path(name))
        if mask.exists():
            self._keep_aside(mask)
            self.held.remove(mask)

    def _keep_aside(self, file: Path) -> None:
        """Keep a file as it was first, under a hidden name."""
        aside = file.with_name(f"{ASIDE}{file.name}")
        if file.exists() and not aside.exists():
            self.held.write(aside, self.held.read(file))

    def remove(self, name: str) -> None:
        """Delete a picture with its caption and mask."""
        path = self.path(name)
        self.held.remove(path)
        self.held.remove(mask_beside(path))
        for extension in EXTENSIONS:
            self.held.remove(path.with_suffix(extension))

    def set_caption(self, name: str, caption: str) -> None:
        """Write a picture's caption; the file goes where there is none left."""
        path = self.path(name)
        present = (path.with_suffix(extension) for extension in EXTENSIONS)
        file = next((file for file in present if file.exists()), path.with_suffix(".txt"))
        text = " ".join(caption.split())
        if not text:
            self.held.remove(file)
            return
        self.held.write(file, f"{text}\n".encode())


@lru_cache(maxsize=1000)
def _look(path: Path, _time: int) -> tuple[str, int, int, Message | None]:
    """Thumbnail, width, height of a picture, or what is wrong; looked at again when it changed."""
    try:
        picture = read_picture(path)
    except UnusablePictureError as error:
        return "", 0, 0, error.reason
    return data_url(picture.rgb, THUMBNAIL), *picture.size, None


def as_png(image: Image.Image) -> bytes:
    """A picture as the content of a PNG file."""
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def data_url(image: Image.Image, longest: int) -> str:
    """A small JPEG of a picture, as an address that holds it."""
    scale = longest / max(image.size)
    # Of a strip that is much longer than wide, a pixel.
    width, height = (max(1, round(side * scale)) for side in image.size)
    small = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
