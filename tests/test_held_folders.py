"""Nothing is read or written outside of folders that are held, whoever swaps links meanwhile."""

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from lib_rimo.errors import UserError
from lib_rimo.held_folders import HAS_HANDLES, HeldFolders

OPEN_FILES = Path("/proc/self/fd")
WAYS = [
    pytest.param(True, marks=pytest.mark.skipif(not HAS_HANDLES, reason="no handles here")),
    pytest.param(False, marks=pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="no /proc")),
]


@pytest.fixture(params=WAYS, ids=["by handle", "by path"])
def has_handles(request):
    return request.param


@pytest.fixture
def place(tmp_path):
    for name in ("held/10_girl", "outside/10_girl"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "1.txt").write_text(f"{name.split('/')[0]} deep")
        (folder.parent / "1.txt").write_text(name.split("/")[0])
    return tmp_path


def test_read_write_remove(place, has_handles):
    held = HeldFolders(place / "held", has_handles=has_handles)
    for name in ("1.txt", "10_girl/1.txt"):
        file = place / "held" / name
        assert held.read(file).startswith(b"held")
        held.write(file, b"new")
        assert file.read_bytes() == b"new"
        held.remove(file)
        held.remove(file)
        assert not file.exists()
    assert sorted(path.name for path in (place / "held").iterdir()) == ["10_girl"]


@pytest.mark.parametrize("name", ["../outside/1.txt", "..", ".", "10_girl/../../outside/1.txt"])
def test_paths_that_lead_out(place, has_handles, name):
    held = HeldFolders(place / "held", has_handles=has_handles)
    for act in (held.read, held.remove, lambda path: held.write(path, b"")):
        with pytest.raises(UserError):
            act(place / "held" / name)
    assert (place / "outside" / "1.txt").read_text() == "outside"


def test_links_are_followed_into_held_folders_only(place, has_handles):
    (place / "held" / "file.txt").symlink_to(place / "outside" / "1.txt")
    (place / "held" / "folder").symlink_to(place / "outside")
    held = HeldFolders(place / "held", has_handles=has_handles)
    links = [place / "held" / "file.txt", place / "held" / "folder" / "1.txt"]
    for link in links:
        with pytest.raises(UserError, match="leads out of the folders"):
            held.read(link)
    for act in (held.remove, lambda path: held.write(path, b"changed")):
        with pytest.raises(UserError, match="leads out of the folders"):
            act(links[1])
    held.write(links[0], b"changed")  # takes the link's place
    assert (place / "outside" / "1.txt").read_text() == "outside"
    links[0].unlink()
    links[0].symlink_to(place / "outside" / "1.txt")
    held.hold(place / "outside")
    assert [held.read(link) for link in links] == [b"outside"] * 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_what_is_no_file_is_not_waited_for(place):
    os.mkfifo(place / "held" / "1.png")
    held = HeldFolders(place / "held")
    for name in ("1.png", "10_girl"):
        with pytest.raises(UserError, match="is no file"):
            held.read(place / "held" / name)


def test_a_folder_that_was_made_anew_is_the_held_one(place, has_handles):
    held = HeldFolders(place / "new", has_handles=has_handles)
    (place / "new").rmdir()
    (place / "new").mkdir()
    held.write(place / "new" / "1.txt", b"new")
    assert (place / "new" / "1.txt").read_text() == "new"


def test_only_so_many_are_held(place):
    held = HeldFolders(place / "held")
    before = len(list(OPEN_FILES.iterdir())) if OPEN_FILES.is_dir() else None
    for number in range(3 * held.MOST):
        (place / f"{number}").mkdir()
        held.hold(place / f"{number}")
    if before is not None:
        assert len(list(OPEN_FILES.iterdir())) == before + held.MOST
    assert held.holds(place / "held" / "x")
    assert held.holds(place / f"{number}")
    assert not held.holds(place / "0")


def test_who_swaps_links_gets_nothing(place, has_handles):
    """For a second a link takes the folder's and the file's place, over and over."""
    held = HeldFolders(place / "held", has_handles=has_handles)
    folder, aside = place / "held" / "10_girl", place / "held" / "aside"
    file, link = place / "held" / "1.txt", place / "link"
    done = threading.Event()
    swaps = 0

    def swap():
        nonlocal swaps
        while not done.is_set():
            folder.rename(aside)
            folder.symlink_to(place / "outside" / "10_girl")
            link.unlink(missing_ok=True)
            link.symlink_to(place / "outside" / "1.txt")
            link.replace(file)
            folder.unlink()
            aside.rename(folder)
            file.unlink()
            swaps += 1
            time.sleep(0.0005)

    thread = threading.Thread(target=swap)
    (place / "held" / "1.txt").unlink()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread.start()
    tries, refused, escapes = 0, 0, 0
    try:
        until = time.monotonic() + 1
        while time.monotonic() < until:
            for path in (folder / "1.txt", file):
                tries += 1
                try:
                    escapes += b"outside" in held.read(path)
                    held.write(folder / "2.txt", b"written")
                    held.remove(folder / "2.txt")
                except (UserError, OSError):
                    refused += 1
    finally:
        done.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert escapes == 0
    left = {path.name: path.read_text() for path in (place / "outside" / "10_girl").iterdir()}
    assert left.pop("1.txt") == "outside deep"
    assert not any(left.values()) if not has_handles else left == {}
    assert swaps > 10
    assert 0 < refused < tries
    print(f"{tries} tries, {refused} refused, {swaps} swaps")
