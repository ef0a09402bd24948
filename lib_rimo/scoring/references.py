"""Who the character is: the subjects of training pictures."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageOps

from lib_rimo.errors import UserError
from lib_rimo.scoring.scorer import Reference
from lib_rimo.training.data.folders import CONTACT_SHEET, find_folders
from lib_rimo.training.data.masks import NoMaskError, find_mask
from lib_rimo.training.data.pictures import Picture, find_pictures, read_pictures

MOST_REFERENCES = 8
"""Cells of more pictures of one character say the same again."""


def read_references(folder: Path) -> list[Reference]:
    """Training pictures with their subjects' masks, evenly over the folder.

    Pictures whose subject cannot be told from the background are left out. Raises UserError where
    none is left.
    """
    paths = [
        path
        for part in find_folders(folder)
        for path in find_pictures(part.path)
        if path.name != CONTACT_SHEET
    ]
    pictures, _ = read_pictures(paths)
    found = [reference for picture in pictures if (reference := _reference(picture)) is not None]
    if not found:
        raise UserError(
            "In none of the pictures in {folder} can the character be told from the background: "
            "put a mask beside each, NAME-masklabel.png, white where the character is.",
            folder=folder,
        )
    step = -(-len(found) // MOST_REFERENCES)
    return found[::step]


def fitted(reference: Reference, size: tuple[int, int]) -> Reference:
    """The reference at the size (width, height) of what it is compared with, cropped around."""
    return Reference(
        ImageOps.fit(reference.picture, size, Image.Resampling.LANCZOS),
        ImageOps.fit(reference.mask, size, Image.Resampling.BOX),
    )


def _reference(picture: Picture) -> Reference | None:
    try:
        return Reference(picture.rgb, find_mask(picture).image)
    except (NoMaskError, UserError):
        return None
