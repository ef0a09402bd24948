"""Files that appear whole or not at all."""

import os
import threading

import pytest

from lib_rimo.errors import UserError
from lib_rimo.files import copy_whole, remove_leftovers, written_beside
from lib_rimo.lora.files import write_lora
from lib_rimo.training.data.buckets import Fit
from lib_rimo.training.data.latent_cache import cache_path, write_moments
from lib_rimo.weights.presets import save_preset


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device"), "The disk is full, one.txt could not be written"),
        (PermissionError(13, "Permission denied"), "(Permission denied): check"),
    ],
)
def test_what_cannot_be_written_leaves_the_old_file(tmp_path, monkeypatch, error, said):
    path = tmp_path / "one.txt"
    path.write_text("old")

    def fail(_):
        raise error

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(UserError) as told, written_beside(path) as beside:
        beside.write_text("new")
    assert said in str(told.value)
    assert str(tmp_path) in str(told.value)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_threads_write_one_file_at_once(tmp_path):
    path = tmp_path / "one.txt"
    both = threading.Barrier(2, timeout=60)
    failed = []

    def write(text):
        try:
            with written_beside(path) as beside:
                beside.write_text(text)
                both.wait()
        except UserError as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=[text]) for text in ("first", "second")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert path.read_text() in ("first", "second")
    assert list(tmp_path.iterdir()) == [path]


def test_only_leftovers_of_that_name_are_removed(tmp_path):
    kept = {"one.txt", ".two.txt.7.part", ".one.txt"}
    for name in {*kept, ".one.txt.7.part", ".one.txt.8.part"}:
        (tmp_path / name).write_text("")
    remove_leftovers(tmp_path, "one.txt")
    assert {path.name for path in tmp_path.iterdir()} == kept
    remove_leftovers(tmp_path / "nowhere", "*")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such rights")
def test_others_may_read_what_is_written_as_they_may_other_files(tmp_path):
    import torch

    other, picture = tmp_path / "other", tmp_path / "1.png"
    other.write_text("")
    fit = Fit((64, 64), (64, 64), (0, 0, 64, 64))
    write_moments((torch.zeros(1), torch.ones(1)), picture, "", fit, False, "")
    save_preset(tmp_path, "HALF", "IN04@0.5")
    lora = tmp_path / "small.safetensors"
    write_lora(lora, {"alpha": torch.zeros(1)}, {})
    for path in (cache_path(picture, fit, False), tmp_path / "lbwpresets.txt", lora):
        assert path.stat().st_mode == other.stat().st_mode, path


def test_a_copy_keeps_the_times(tmp_path):
    source, target = tmp_path / "a", tmp_path / "new" / "b"
    source.write_bytes(b"content")
    os.utime(source, (1, 2))
    copy_whole(source, target)
    assert target.read_bytes() == b"content"
    assert target.stat().st_mtime == 2
