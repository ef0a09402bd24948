"""Locks between processes that vanish with whoever holds them, however that one ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock


class HeldError(Exception):
    """Another process holds the lock."""


@contextmanager
def hold(path: Path, *, seconds: float = 0) -> Iterator[None]:
    """Hold the lock of a file within; raises HeldError when it is not free in that time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=seconds)
    except filelock.Timeout:
        raise HeldError(str(path)) from None
    try:
        yield
    finally:
        lock.release()


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock of a file."""
    if not path.exists():
        return False
    try:
        with hold(path):
            return False
    except HeldError:
        return True
