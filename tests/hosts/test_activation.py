"""What a host's pictures tell of tags."""

import pytest

from lib_rimo.hosts.activation import not_found, read_tag
from lib_rimo.weights.presets import DEFAULT_PRESETS

NAMES = ["rimochan", "other", "rimochan_v2"]


@pytest.mark.parametrize(
    ("name", "near"), [("rimochn", "rimochan"), ("Other", "other"), ("x" * 100_000, None)]
)
def test_a_name_that_is_not_there_is_told_with_the_nearest(name, near):
    told = str(not_found(read_tag([name, "1"], DEFAULT_PRESETS, 1), NAMES))
    assert ("did you mean" in told) == (near is not None)
    assert near is None or told.endswith(f"did you mean {near}?")


def test_one_that_is_there_and_cannot_be_read_is_not_told_as_another():
    told = str(not_found(read_tag(["other", "1"], DEFAULT_PRESETS, 1), NAMES))
    assert "cannot be read" in told
