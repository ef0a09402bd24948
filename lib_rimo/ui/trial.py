"""What a LoRA is tried with: words, model and size of its training."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from pathlib import Path

from lib_rimo.errors import UserError
from lib_rimo.sd.native import native_of
from lib_rimo.sd.size import Size, parse_resolution
from lib_rimo.training.config.options import TrainingOptions
from lib_rimo.training.data.captions import read_caption, split_tags
from lib_rimo.training.data.folders import find_folders
from lib_rimo.training.data.pictures import find_pictures

MOST_TAGS = 8
_FRAMINGS = ("upper body", "close-up", "full body", "simple background")
"""Of crops and plain grounds, not of the character: nobody wants them in each picture."""


def try_prompt(options: TrainingOptions) -> str:
    """A prompt of the training's own words: the trigger word, and what most captions say.

    Without captions that is the trigger word alone, or the LoRA's name.
    """
    words = _usual_words(options)
    trigger = options.trigger_word.strip()
    if trigger:
        words = [trigger, *(word for word in words if word != trigger)]
    return ", ".join([*(words or [options.output_name]), f"<lora:{options.output_name}:1>"])


def trial_size(options: TrainingOptions) -> Size:
    """Width and height that a LoRA was trained at."""
    if options.resolution:
        return parse_resolution(options.resolution)
    try:
        return native_of(Path(options.pretrained_model_name_or_path)).size
    except UserError:  # the model may be gone by now
        return 512, 512


def _usual_words(options: TrainingOptions) -> list[str]:
    folder = Path(options.train_data_dir)
    try:
        return list(_common_tags(folder, options.caption_extension, folder.stat().st_mtime_ns))
    except (OSError, ValueError, UserError):  # gone by now, or no name that a file can have
        return []


@lru_cache(maxsize=64)  # the page asks every second or two
def _common_tags(root: Path, extension: str, _time: int) -> tuple[str, ...]:
    """The tags that more than half of the captions have, in the order of the first of them."""
    counts: Counter[str] = Counter()
    order: dict[str, None] = {}
    captions = 0
    for folder in find_folders(root):
        for picture in find_pictures(folder.path):
            tags = split_tags(read_caption(picture, extension) or "")
            captions += bool(tags)
            counts.update(set(tags))
            order |= dict.fromkeys(tags)
    usual = [tag for tag in order if counts[tag] > captions / 2 and tag not in _FRAMINGS]
    return tuple(usual[:MOST_TAGS])
