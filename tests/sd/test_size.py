import pytest

from lib_rimo.errors import UserError
from lib_rimo.sd.size import parse_resolution, read_size, whole_cells


@pytest.mark.parametrize("text", ["448,704", "448x704", " 448 X 704", "448×704", "448*704"])
def test_sizes_are_read(text):
    assert read_size(text) == (448, 704)


@pytest.mark.parametrize("text", ["", ",", "448,", "a", "-448", "448.5", "1,2,3", "9999999", "٤٤٨"])
def test_other_texts_are_no_sizes(text):
    assert read_size(text) is None


def test_latents_hold_whole_cells():
    assert whole_cells((450, 711)) == (448, 704)


@pytest.mark.parametrize("text", ["", "0", "500,704", "448,704,3", "big"])
def test_a_wrong_resolution_is_refused(text):
    with pytest.raises(UserError, match="resolution"):
        parse_resolution(text)


def test_resolutions_are_read():
    assert parse_resolution("448,704") == parse_resolution("448x704") == (448, 704)
    assert parse_resolution("512") == (512, 512)
