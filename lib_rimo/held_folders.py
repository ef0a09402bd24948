"""Folders that are held open: what is read and written through them lies in them.

Between looking where a path leads and opening it somebody can put a link in its place. So a folder
is opened once, and from its handle on every step of a path is one that follows no link. A link that
leads into another held folder is followed there, in the same way.

Where a platform opens nothing relative to a handle, as Windows, the file is opened first and asked
then where it really lies; a swap in the moment of writing can leave an empty file elsewhere there.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import BinaryIO

from lib_rimo.errors import UserError
from lib_rimo.files import not_written

_DIRECTORY = getattr(os, "O_DIRECTORY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_PLAIN = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_WAITS_FOR_NOBODY = getattr(os, "O_NONBLOCK", 0)  # where a pipe stands in a picture's place
HAS_HANDLES = bool(_NO_LINK) and {os.open, os.unlink, os.rename} <= os.supports_dir_fd


_reading_through: ContextVar[HeldFolders | None] = ContextVar("rimo_held", default=None)


def open_file(path: Path) -> BinaryIO:
    """Open a file to read it: any, or as `reading_through` has it."""
    held = _reading_through.get()
    return path.open("rb") if held is None else held.open(path)


@contextmanager
def reading_through(held: HeldFolders) -> Iterator[None]:
    """Have `open_file` open what lies in held folders only, as for a page's visitors."""
    mark = _reading_through.set(held)
    try:
        yield
    finally:
        _reading_through.reset(mark)


class LeavesFolderError(UserError):
    """A path leads out of all folders that are held."""


class HeldFolders:
    """The folders that may be read and written, by their real paths."""

    MOST = 64
    """Folders held at a time; of more the one that was opened first goes."""

    def __init__(self, *always: Path, has_handles: bool = HAS_HANDLES) -> None:
        """`always` are held for good; they are made where they are missing."""
        self.has_handles = has_handles
        self.always = {Path(os.path.realpath(path)) for path in always}
        self._handles: OrderedDict[Path, int] = OrderedDict()
        self._lock = threading.RLock()
        for path in self.always:
            path.mkdir(parents=True, exist_ok=True)
            self.hold(path)

    def hold(self, path: Path) -> Path:
        """Allow a folder from now on, whatever it was until now; gives its real path."""
        real = Path(os.path.realpath(path))
        handle = os.open(real, os.O_RDONLY | _DIRECTORY | _NO_LINK) if self.has_handles else -1
        with self._lock:
            self._close(self._handles.pop(real, -1))
            self._handles[real] = handle
            passing = [known for known in self._handles if known not in self.always]
            for known in passing[: -self.MOST]:
                self._close(self._handles.pop(known))
        return real

    def holds(self, path: Path) -> bool:
        """Whether a real path lies in a held folder, or is one."""
        with self._lock:
            return self._root_of(path) is not None

    def open(self, path: Path) -> BinaryIO:
        """Open a file to read it."""
        with self._lock:
            return os.fdopen(self._follow(path, os.O_RDONLY | _WAITS_FOR_NOBODY), "rb")

    def read(self, path: Path) -> bytes:
        """A file's content."""
        with self.open(path) as file:
            return file.read()

    def write(
        self, path: Path, content: bytes, check: Callable[[Path], object] | None = None
    ) -> None:
        """Write a file that appears whole or not at all; a link in its place is replaced.

        `check` may look at it under another name before it appears, and raise what keeps it out.
        """
        try:
            self._write(path, content, check)
        except OSError as error:
            raise not_written(path, error) from error

    def _write(self, path: Path, content: bytes, check: Callable[[Path], object] | None) -> None:
        name = f".{path.name[:100]}.{secrets.token_hex(4)}.part"
        with self._lock:
            parent = self._parent(path)
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK | _PLAIN
                beside = path.with_name(name)
                handle = self._open_at(parent, beside, flags)
                try:
                    with os.fdopen(handle, "wb") as file:
                        file.write(content)
                        file.flush()
                        os.fsync(file.fileno())
                    if check is not None:
                        check(beside)
                    if parent is None:
                        beside.replace(path)
                    else:
                        os.replace(name, path.name, src_dir_fd=parent, dst_dir_fd=parent)
                except BaseException:
                    with suppress(OSError):
                        self._unlink_at(parent, beside)
                    raise
            finally:
                self._close(parent)

    def remove(self, path: Path) -> None:
        """Delete a file, or a link in its place; nothing where there is none."""
        with self._lock:
            parent = self._parent(path)
            try:
                self._unlink_at(parent, path)
            except FileNotFoundError:
                pass
            finally:
                self._close(parent)

    def _follow(self, path: Path, flags: int) -> int:
        try:
            return self._open_file(path, flags)
        except LeavesFolderError:
            target = Path(os.path.realpath(path))
            if target == path or self._root_of(target) is None:
                raise
            return self._open_file(target, flags)

    def _open_file(self, path: Path, flags: int) -> int:
        parent = self._parent(path)
        try:
            handle = self._open_at(parent, path, flags | _NO_LINK | _PLAIN)
        finally:
            self._close(parent)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise UserError("{file} is no file.", file=path.name)
        return handle

    def _parent(self, path: Path) -> int | None:
        """A handle of the folder that a file lies in; none where there are no handles."""
        root = self._root_of(path)
        if root is None or path == root or ".." in path.parts:
            raise _leaves(path)
        if not self.has_handles:
            return None
        here = self._handle_of(root)
        try:
            for part in path.relative_to(root).parts[:-1]:
                flags = os.O_RDONLY | _DIRECTORY | _NO_LINK | _PLAIN
                deeper = os.open(part, flags, dir_fd=here)
                os.close(here)
                here = deeper
        except OSError as error:
            os.close(here)
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise _leaves(path) from None
            raise
        return here

    def _handle_of(self, root: Path) -> int:
        """A handle of a held folder; of the folder that took its place if it was deleted."""
        handle = self._handles[root]
        if os.fstat(handle).st_nlink == 0:
            self.hold(root)
            handle = self._handles[root]
        return os.dup(handle)

    def _root_of(self, path: Path) -> Path | None:
        return next((place for place in (path, *path.parents) if place in self._handles), None)

    def _open_at(self, parent: int | None, path: Path, flags: int) -> int:
        if parent is not None:
            try:
                return os.open(path.name, flags, 0o666, dir_fd=parent)
            except OSError as error:
                # Linux and macOS say ELOOP where the file is a link, FreeBSD EMLINK.
                if error.errno in (errno.ELOOP, errno.EMLINK):
                    raise _leaves(path) from None
                raise
        handle = os.open(path, flags & ~_NO_LINK, 0o666)
        if self._root_of(_place_of(handle)) is None:
            os.close(handle)
            if flags & os.O_CREAT:
                path.unlink(missing_ok=True)
            raise _leaves(path)
        return handle

    def _unlink_at(self, parent: int | None, path: Path) -> None:
        if parent is not None:
            os.unlink(path.name, dir_fd=parent)
            return
        if self._root_of(Path(os.path.realpath(path.parent))) is None:
            raise _leaves(path)
        path.unlink()

    def _close(self, handle: int | None) -> None:
        if handle is not None and handle >= 0:
            os.close(handle)


def _leaves(path: Path) -> LeavesFolderError:
    return LeavesFolderError(
        "{file} is a link that leads out of the folders that are open here: open the folder that "
        "it leads to first, or put the file itself in its place.",
        file=path.name,
        about=path.name,
    )


def _place_of(handle: int) -> Path:
    """Where an open file lies."""
    if sys.platform == "win32":
        import ctypes
        import msvcrt

        get = ctypes.windll.kernel32.GetFinalPathNameByHandleW
        get.argtypes = (ctypes.c_void_p, ctypes.c_wchar_p, ctypes.c_uint32, ctypes.c_uint32)
        text = ctypes.create_unicode_buffer(32768)
        if not get(msvcrt.get_osfhandle(handle), text, len(text), 0):
            raise ctypes.WinError()
        place = text.value
        if place.startswith("\\\\?\\UNC\\"):
            return Path("\\\\" + place[8:])
        return Path(place.removeprefix("\\\\?\\"))
    return Path(f"/proc/self/fd/{handle}").readlink()
