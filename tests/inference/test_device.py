"""What a model is drawn or asked on."""

from pathlib import Path

import pytest
import torch

from lib_rimo.errors import UserError
from lib_rimo.inference import device
from lib_rimo.inference.device import WORKING_ROOM, choose_device, choose_device_beside, room_of
from lib_rimo.sd import embedded


def test_a_device_that_is_not_there():
    with pytest.raises(UserError, match="--device cpu"):
        choose_device("cuda:7", None)


def test_room_is_counted_in_half_precision():
    weights = room_of(embedded.MODEL) - WORKING_ROOM
    assert weights == pytest.approx(embedded.MODEL.stat().st_size, rel=0.02)  # a file in fp16


def test_a_file_that_is_no_model_needs_no_room(tmp_path: Path):
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    assert room_of(tmp_path / "model.safetensors") == 0
    assert room_of(tmp_path / "missing.safetensors") == 0


@pytest.mark.parametrize(("free", "expected"), [(-1, "cpu"), (0, "cuda")])
def test_a_gpu_without_room_for_a_second_copy_is_passed_over(
    free: int, expected: str, monkeypatch: pytest.MonkeyPatch
):
    left = room_of(embedded.MODEL) + free
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (left, 2**40))
    monkeypatch.setattr(device, "choose_device", lambda name, _: (name or "cuda", torch.float16))
    assert choose_device_beside(embedded.MODEL)[0] == expected
