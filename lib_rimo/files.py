"""Files: written so that they appear whole or not at all, and their hashes."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lib_rimo.errors import UserError


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` that takes its place once it is written in full.

    The folder is made where it is missing. Raises UserError, naming the reason, where the file
    cannot be written.
    """
    # A thread's number is no other's on the whole machine: several may write the same file at once.
    beside = path.with_name(f".{path.name}.{threading.get_native_id()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise not_written(path, error) from error
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file with its times; the copy appears whole or not at all. Raises UserError."""
    with written_beside(target) as beside:
        shutil.copy2(source, beside)


def file_hash(path: Path, start: int = 0) -> str:
    """A file's SHA-256, from a byte on; empty where it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            file.seek(start)
            while part := file.read(1 << 20):
                digest.update(part)
    except OSError:
        return ""
    return digest.hexdigest()


def remove_leftovers(folder: Path, name: str) -> None:
    """Remove what a killed process left of writing files of this name, a pattern with `*` in it.

    To be called by who alone writes them: what another one is writing just now would go too.
    """
    for left in folder.glob(f".{name}.*.part"):
        with suppress(OSError):
            left.unlink()


def not_written(path: Path, error: OSError) -> UserError:
    """Why a file could not be written, and what to do."""
    if is_full(error):
        return UserError(
            "The disk is full, {file} could not be written: make room on the disk of {folder}.",
            file=path.name,
            folder=path.parent,
        )
    return UserError(
        "{file} could not be written ({reason}): check that the folder exists and that you may "
        "write there.",
        file=path,
        reason=error.strerror or error,
    )


def is_full(error: OSError) -> bool:
    """Whether there is no room left on the disk, or none for this user."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
