"""Caption files as text, in whatever encoding an editor saved them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from lib_rimo.errors import UserError
from lib_rimo.held_folders import open_file

LONGEST = 1 << 20
"""Bytes of a caption; a file of more is something else."""
_ENOUGH = 1 << 15
"""Bytes of captions that tell their encoding surely."""

# What Windows' editors call ANSI, in China, Japan, Taiwan and Hong Kong, Korea, Russia, the West.
_CODEPAGES = ["gb18030", "cp932", "big5", "cp949", "cp1251", "cp1252"]


def read_text(file: Path) -> str:
    """A caption's text: UTF-8, UTF-16 or a code page.

    Which code page, the folder's other files that are not UTF-8 say with it: a word alone is a
    word in several. Raises UserError where that is not certain.
    """
    content = _content(file)
    text = _unicode(content)
    if text is not None:
        return text
    encoding = _codepage(_sample(_others(file)))
    try:
        return content.decode(encoding)
    except (LookupError, UnicodeDecodeError):
        raise UserError(
            "The encoding of {file} is uncertain: open it in an editor and save it as UTF-8.",
            file=file,
            about=file.name,
        ) from None


def _content(file: Path) -> bytes:
    try:
        with open_file(file) as opened:
            content = opened.read(LONGEST + 1)
    except OSError as error:
        raise UserError(
            "{file} cannot be read ({error}).",
            file=file,
            error=error.strerror or type(error).__name__,
            about=file.name,
        ) from error
    if len(content) > LONGEST:
        raise UserError(
            "{file} is too long for a caption: mend or delete it.", file=file, about=file.name
        )
    return content


def _unicode(content: bytes) -> str | None:
    """The text of UTF-8, or of UTF-16 that a mark or the zeros of its ASCII letters give away."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif b"\0" in content:
        zeros = content[0::2].count(0), content[1::2].count(0)
        encoding = "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
    else:
        encoding = "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        return None


def _others(file: Path) -> Iterator[bytes]:
    """The captions of a file's folder that are not UTF-8, its own among them."""
    for other in sorted(file.parent.iterdir()):
        if other.suffix != file.suffix or not other.is_file():
            continue
        with suppress(UserError):
            content = _content(other)
            if _unicode(content) is None:
                yield content


def _sample(contents: Iterable[bytes]) -> bytes:
    """Texts one after another, as many as tell their encoding."""
    sample = b""
    for content in contents:
        sample += content + b"\n"
        if len(sample) > _ENOUGH:
            break
    return sample


@lru_cache(maxsize=64)
def _codepage(sample: bytes) -> str:
    """The one code page that these bytes are text of; empty where it could be another too."""
    try:
        from charset_normalizer import from_bytes  # in a WebUI it is the host's, or missing
    except ImportError:
        return ""
    mostly_utf_8 = sample.decode("utf-8", "ignore")
    if not mostly_utf_8.isascii() and len(mostly_utf_8.encode()) > 0.9 * len(sample):
        return ""  # damaged, not another encoding
    found = list(from_bytes(sample, cp_isolation=_CODEPAGES))
    if not found:
        return ""
    best, *others = found
    if any(other.chaos <= best.chaos and str(other) != str(best) for other in others):
        return ""
    return str(best.encoding)
