"""What a set of pictures needs before it is trained on."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from lib_rimo.errors import UserError
from lib_rimo.messages import Message
from lib_rimo.training.augment.origin import crops_in
from lib_rimo.training.config.built_in import BACKGROUNDS_KEPT
from lib_rimo.training.config.options import TrainingOptions
from lib_rimo.training.data.folders import find_folders
from lib_rimo.training.data.image_files import UnusablePictureError
from lib_rimo.training.data.pictures import find_pictures, read_picture
from lib_rimo.training.data.plain_background import plain_background

MOST = 40
"""Pictures: so many, of different places, are no longer few, and each is read to be looked at."""
SCENES = 20
OTHER_BACKGROUNDS = "other backgrounds"
"""What the proposal is about: by that the page knows it, and offers to do it."""
PLAIN_SHARE = 0.6
"""Of the pictures: where so many stand on plain grounds, all that is drawn comes to stand there."""


def propose_other_backgrounds(options: TrainingOptions) -> Message | None:
    """One sentence with its reason, where few pictures are mostly on plain backgrounds.

    None where the pictures are others, many or none.
    """
    if not options.train_data_dir:
        return None
    try:
        folders = find_folders(Path(options.train_data_dir))
    except UserError:  # told where the options are checked
        return None
    crops = crops_in(Path(options.train_data_dir))  # which the character fills
    found = (path for folder in folders for path in find_pictures(folder.path))
    pictures = [path for path in found if path not in crops]
    if not 0 < len(pictures) <= MOST:
        return None
    plain = sum(_is_plain(path, path.stat().st_mtime_ns) for path in pictures)
    if plain < PLAIN_SHARE * len(pictures):
        return None
    return Message(
        "{n} of {count} uncropped pictures have a plain background, and a LoRA of few pictures "
        "would draw it everywhere. Make them with Other backgrounds (augment --scenes {scenes}), "
        "which puts the character into places that the base model draws, and train by the recipe "
        '"{recipe}".',
        about=OTHER_BACKGROUNDS,
        level="warning",
        scenes=SCENES,
        recipe=Message(BACKGROUNDS_KEPT),
        n=plain,
        count=len(pictures),
    )


@lru_cache(maxsize=1024)
def _is_plain(path: Path, _time: int) -> bool:
    """Whether nothing but the subject is to be seen, which a transparent ground lets through."""
    try:
        picture = read_picture(path)
    except UnusablePictureError:
        return False
    return picture.alpha is not None or plain_background(np.asarray(picture.rgb)) is not None
