import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_rimo.errors import UserError
from lib_rimo.weights.grammar import parse_blocks, parse_elements
from lib_rimo.weights.presets import (
    BLOCKS_FILE,
    DEFAULT_PRESETS,
    ELEMENTS_FILE,
    Presets,
    lbw_folders,
    load_presets,
    parse_block_presets,
    parse_element_presets,
    save_preset,
)

VECTOR = "1,0,0,0,1,1,1,0.5,0,0,0,0,0,0,0,0,0"


def test_built_in_presets_can_be_read():
    for name in DEFAULT_PRESETS.blocks:
        parse_blocks(name)
    for name in DEFAULT_PRESETS.elements:
        assert parse_elements(name)
    assert parse_blocks("MIDD").of("IN07") == 1
    assert parse_blocks("OUTS").of("OUT06") == 0


def test_lines_that_are_no_presets_are_comments():
    text = f"""\
my presets
MINE: {VECTOR}
# OLD:{VECTOR}
SHORT:1,0,0
SOFT:IN07@0.8,IN08@0.2
TITLE:
:{VECTOR}
"""
    assert parse_block_presets(text) == {"MINE": VECTOR, "SOFT": "IN07@0.8,IN08@0.2"}


def test_element_presets_stand_apart():
    text = "A:IN05-OUT05:attn:1,IN05-OUT05:ff:0\nBASE:attn:0.5\n\n\nB:::1\n \nno preset\n"
    presets = parse_element_presets(text)
    assert set(presets) == {"A", "B"}
    assert len(parse_elements("A", Presets(elements=presets))) == 3


def test_the_other_extensions_files_are_found_and_ours_win(tmp_path):
    theirs = tmp_path / "extensions" / "sd-webui-lora-block-weight" / "scripts"
    theirs.mkdir(parents=True)
    (theirs / BLOCKS_FILE).write_text(f"﻿THEIRS:{VECTOR}\nBOTH:IN04@0\n", encoding="utf-8")
    (theirs / ELEMENTS_FILE).write_text("E:IN05:attn:0.5\n", encoding="utf-8")
    ours = tmp_path / "ours"
    save_preset(ours, "BOTH", "IN04@1")
    presets = load_presets([*lbw_folders(tmp_path), ours, tmp_path / "nowhere"])
    assert presets.blocks["THEIRS"] == VECTOR
    assert presets.blocks["BOTH"] == "IN04@1"
    assert presets.blocks["MIDD"] == DEFAULT_PRESETS.blocks["MIDD"]
    assert presets.elements["E"] == "IN05:attn:0.5"


def test_saving_keeps_every_other_line(tmp_path):
    path = tmp_path / BLOCKS_FILE
    path.write_text(f"my presets\nA:{VECTOR}\n# end", encoding="utf-8")
    save_preset(tmp_path, "B", "IN04@0.5")
    save_preset(tmp_path, "A", "IN05@0.5")
    assert path.read_text(encoding="utf-8") == "my presets\nA:IN05@0.5\n# end\nB:IN04@0.5\n"
    assert [*tmp_path.iterdir()] == [path]


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    save_preset(tmp_path, "A", VECTOR)
    monkeypatch.setattr("os.fsync", lambda file: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_preset(tmp_path, "A", "IN05@0.5")
    assert (tmp_path / BLOCKS_FILE).read_text(encoding="utf-8") == f"A:{VECTOR}\n"
    assert len([*tmp_path.iterdir()]) == 1


@pytest.mark.parametrize("name", ["", " ", "a:b", "a b", "a,b", "#a", "a>", "0.5", "x=1", "a@1"])
def test_names_that_cannot_stand_in_a_tag_are_refused(tmp_path, name):
    with pytest.raises(UserError, match="cannot name a preset"):
        save_preset(tmp_path, name, VECTOR)


@given(st.text())
def test_no_file_raises(text):
    parse_block_presets(text)
    parse_element_presets(text)
