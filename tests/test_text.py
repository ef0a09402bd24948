"""Texts from outside are read, or refused as one kind of error."""

import pytest

from lib_rimo.errors import UserError
from lib_rimo.text import parse_json
from lib_rimo.training.config.documents import parse_mapping
from lib_rimo.training.sample_prompts import _of_json


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "{", "", b"\xff", "9" * 5000, "0x"]
)
def test_what_is_no_json_is_one_kind_of_error(text):
    with pytest.raises(ValueError, match=r"deep|line 1|decode|digits"):
        parse_json(text)


@pytest.mark.parametrize(
    "read",
    [
        lambda: parse_mapping("[" * 100_000, "a.json", is_json=True),
        lambda: parse_mapping("a = " + "[" * 100_000, "a.toml", is_json=False),
        lambda: _of_json("[" * 100_000, "prompts.json"),
    ],
)
def test_deep_documents_are_refused_in_a_sentence(read):
    with pytest.raises(UserError, match="is not valid"):
        read()
