"""Common tags of booru sites, by which most models of drawn pictures are prompted."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

_LIST = Path(__file__).with_name("booru_tags.txt")


@lru_cache(maxsize=1)
def common_tags() -> tuple[str, ...]:
    """The tags of the list that comes along, in its order; its comments say where it is from."""
    lines = (line.strip() for line in _LIST.read_text(encoding="utf-8").splitlines())
    tags = (tag.strip() for line in lines if not line.startswith("#") for tag in line.split(","))
    return tuple(dict.fromkeys(tag for tag in tags if tag))
