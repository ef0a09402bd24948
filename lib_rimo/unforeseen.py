"""What nobody foresaw, made into a sentence: every verb and every request ends in one.

The traceback goes into a file that can be attached to a report.
"""

from __future__ import annotations

import hashlib
import platform
import sys
import tempfile
import traceback
from pathlib import Path

from lib_rimo import __version__
from lib_rimo.errors import UserError
from lib_rimo.files import is_full
from lib_rimo.text import shortened, visible

FOLDER = Path(tempfile.gettempdir())
"""Where reports are written; the system tidies it up."""


def as_user_error(error: Exception) -> UserError:
    """What the user is told of any error: what they can mend, or where its report lies."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, OSError):
        if is_full(error):
            return UserError("The disk is full: make room.")
        if error.filename is not None or error.strerror:
            reason = error.strerror or type(error).__name__
            name = visible(str(error.filename if error.filename is not None else "-"))
            return UserError("{file}: {reason}.", file=name, reason=reason)
    if isinstance(error, UnicodeEncodeError):  # surrogates, which JSON and file names may hold
        return UserError(
            "{text} holds half a character: write it again.", text=_line(repr(error.object))
        )
    if isinstance(error, MemoryError):
        return UserError("The memory does not suffice: close other programs, or ask for less.")
    told = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    file = write_report(error)
    if file is None:
        return UserError("Something went wrong that nobody foresaw ({error}).", error=_line(told))
    return UserError(
        "Something went wrong that nobody foresaw ({error}). Please report it, with the file "
        "{file}.",
        error=_line(told),
        file=file,
    )


def write_report(error: Exception) -> Path | None:
    """Write an error's traceback into a file, the same one for the same error; None if it cannot.

    It names versions and this program's lines, and the command line as it was typed.
    """
    lines = traceback.format_exception(type(error), error, error.__traceback__, limit=-40)
    content = "".join(
        (
            f"Rimo {__version__}, Python {platform.python_version()}, {platform.platform()}\n",
            f"{[Path(sys.argv[0]).name, *sys.argv[1:]]}\n\n",
            *lines,
        )
    )
    frames = traceback.extract_tb(error.__traceback__)
    place = "".join(f" {frame.name}:{frame.lineno}" for frame in frames)
    mark = hashlib.sha256(f"{type(error).__name__}{place}".encode()).hexdigest()[:8]
    file = FOLDER / f"rimo-error-{mark}.txt"
    try:
        file.unlink(missing_ok=True)  # it may be a link that somebody else has put there
        with file.open("x", encoding="utf-8", errors="backslashreplace") as opened:
            opened.write(content)
    except OSError:
        return None
    return file


def _line(text: str) -> str:
    return shortened(visible(" ".join(text.split())), 200)
