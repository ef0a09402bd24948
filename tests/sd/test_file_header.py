import json

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from lib_rimo.sd.file_header import LONGEST_HEADER, read_header


def write(path, header: bytes, length=None):
    path.write_bytes((len(header) if length is None else length).to_bytes(8, "little") + header)
    return path


def test_shapes_and_metadata_are_read(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"a.weight": torch.zeros(2, 3), "alpha": torch.tensor(1.0)}, path, {"name": "x"})
    header = read_header(path)
    assert header.shapes == {"a.weight": (2, 3), "alpha": ()}
    assert header.metadata == {"name": "x"}


def test_what_is_no_tensor_is_passed_over(tmp_path):
    content = {"__metadata__": {"a": "b", "c": 1}, "x": 1, "y": {"shape": [1, -1]}, "z": {}}
    header = read_header(write(tmp_path / "x", json.dumps(content).encode()))
    assert (header.shapes, header.metadata) == ({}, {"a": "b"})


@pytest.mark.parametrize(
    ("header", "length"),
    [
        (b"", 0),
        (b"{}", LONGEST_HEADER + 1),
        (b'{"a": 1', 1000),  # cut short
        (b"[]", None),
        (b'{"a": ' * 100_000, None),
        (b"\xff\xfe", None),
    ],
)
def test_other_files_are_refused(tmp_path, header, length):
    path = write(tmp_path / "x", header, length)
    with pytest.raises(ValueError, match=r"\w"):
        read_header(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(content=st.binary(max_size=60))
def test_no_bytes_raise_anything_else(tmp_path, content):
    path = tmp_path / "x"
    path.write_bytes(content)
    try:
        read_header(path)
    except ValueError:
        return
