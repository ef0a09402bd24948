"""The gaps in this process' memory."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache
from typing import Any


def give_back_gaps() -> None:
    """Give the system back what lies free between things in use; Linux' C library alone keeps it.

    A forward pass frees much between activations that stay. What is given back is fetched again
    when needed, so to be called where what is free is not needed at once.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@lru_cache
def _malloc_trim() -> Callable[[int], Any] | None:
    """https://man7.org/linux/man-pages/man3/malloc_trim.3.html, where there is one."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None  # another C library; on Windows CDLL takes no None
