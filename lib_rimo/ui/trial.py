"""How a LoRA is tried: a prompt that shows what was learned."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from lib_rimo.errors import UserError
from lib_rimo.training.config.options import TrainingOptions
from lib_rimo.training.data.captions import read_caption, split_tags
from lib_rimo.training.data.folders import find_folders
from lib_rimo.training.data.pictures import find_pictures


def try_prompt(options: TrainingOptions) -> str:
    """A prompt that shows what was learned: it has the trigger word, or how all captions begin."""
    subject = options.trigger_word.strip() or _first_tag(options) or options.output_name
    return f"{subject}, <lora:{options.output_name}:1>"


def _first_tag(options: TrainingOptions) -> str:
    """The tag that all captions begin with; empty without one."""
    folder = Path(options.train_data_dir)
    try:
        return _common_tag(folder, options.caption_extension, folder.stat().st_mtime_ns)
    except (OSError, UserError):  # the pictures may be gone by now
        return ""


@lru_cache(maxsize=64)  # the page asks every second or two
def _common_tag(root: Path, extension: str, _time: int) -> str:
    first: set[str] = set()
    for folder in find_folders(root):
        for picture in find_pictures(folder.path):
            tags = split_tags(read_caption(picture, extension) or "")
            first.add(tags[0] if tags else "")
            if len(first) > 1:
                return ""
    return first.pop() if first else ""
