"""What nobody foresaw ends in a sentence that names a file to attach."""

import importlib

import pytest

from lib_rimo import __main__, unforeseen
from tests.attack.verbs import call, verbs


def test_what_nobody_foresaw_is_a_sentence_with_a_file(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(unforeseen, "FOLDER", tmp_path)
    monkeypatch.setenv("RIMO_ENVIRONMENT", "current")

    def fails(arguments):
        raise AssertionError("a \x1b[31m bug")

    monkeypatch.setattr(importlib.import_module("lib_rimo.commands.docs"), "run", fails)
    assert __main__.main(["docs"]) == 1
    (report,) = tmp_path.iterdir()
    said = capsys.readouterr().err
    assert str(report) in said
    assert "\x1b" not in said
    assert said.count("\n") == 1
    assert "in fails" in report.read_text()
    __main__.main(["docs"])
    assert len(list(tmp_path.iterdir())) == 1  # the same error, the same file


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["ui", "--port", "99999"], "use one from 1024 to 65535"),
        (["ui", "--port", "-1"], "use one from 1024 to 65535"),
        (["generate", "--prompt", "a", "--steps", "9" * 400], "Steps have to be between"),
        (["generate", "--prompt", "a", "--count", "9" * 400], "invalid positive value"),
        (["train", "--output_name", "x" * 300], "output_name is 300 bytes long"),
    ],
)
def test_numbers_and_names_beyond_all_bounds_are_sentences(words, sentence, monkeypatch):
    monkeypatch.setenv("RIMO_ENVIRONMENT", "current")
    status, said = call(words[0], words[1:])
    assert status == 2
    assert sentence in said


def test_the_fuzzer_knows_every_verb():
    assert {"merge", "resize", "extract", "convert", "edit", "tag", "choose"} < set(verbs())
