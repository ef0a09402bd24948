"""Every verb ends in its work or in sentences, whatever stands behind it."""

import importlib
import os
import pkgutil
import random

import pytest

from lib_rimo import __main__, commands, unforeseen
from tests.attack.odd_loras import odd_loras

# They install, test, make figures, or serve until somebody ends them: their options are parsed,
# and what they do is replaced.
LONG = {"demo", "docs", "format", "lint", "lock", "queue", "reproduce", "test", "ui"}
TEXTS = ["", " ", "\x1c", "0", "-1", "1e999", "nan", "9" * 400, "a/b", "..", "../x", "莉莫",
         "\ud800", "x" * 300,
         "a\nb", "\x1b[31m", "1,1,1", "[a:b:", "[" * 2000, "<lora:odd:1:x@", "{name}",
         "0x10", "--", "-", "NaN", "a=b,c=d", "lr=1", "Steps: 1, Clip skip: 99", "64x", "64x64",
         "99999", "true", "CON", "con.safetensors ", "%s%n", "\\\\?\\x", "~root",
         "1:2:3"]  # fmt: skip


def verbs():
    for module in pkgutil.iter_modules(commands.__path__):
        if not module.name.startswith("_"):
            yield module.name


def arguments_of(verb, rng, folder):
    """Words for a verb: some of its options, some files, some nonsense."""
    import argparse

    parser = argparse.ArgumentParser()
    importlib.import_module(f"lib_rimo.commands.{verb}").add_arguments(parser)
    names = [name for action in parser._actions for name in action.option_strings[-1:]]
    files = [str(file) for file in sorted(folder.iterdir())]
    words = []
    for _ in range(rng.randint(0, 6)):
        word = rng.choice([*names, *TEXTS, *files, *files]) if names else rng.choice(TEXTS)
        words.append(word.replace("\0", ""))
        if word in names and rng.random() < 0.7:
            words.append(rng.choice([*TEXTS, *files]))
    return words


@pytest.fixture
def odd_folder(tmp_path, monkeypatch):
    """A folder to work in with files of every kind."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.safetensors").touch()
    (tmp_path / "text.toml").write_text("resolution = 1" + "0" * 400)
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "noise.png").write_bytes(random.Random(0).randbytes(999))
    for number, (_, content) in enumerate(odd_loras(3)):
        (tmp_path / f"odd{number}.safetensors").write_bytes(content)
    (tmp_path / "dangling.safetensors").symlink_to(tmp_path / "nowhere")
    (tmp_path / os.fsdecode(b"\xff\xfe.safetensors")).write_bytes(b"x")
    return tmp_path


@pytest.mark.skipif(os.name == "nt", reason="Windows' file names are Unicode")
@pytest.mark.filterwarnings("ignore")
def test_no_verb_ends_in_what_nobody_foresaw(odd_folder, attack_scale, monkeypatch, capsys):
    monkeypatch.setenv("RIMO_ENVIRONMENT", "current")
    monkeypatch.setattr(unforeseen, "FOLDER", odd_folder)
    for verb in LONG:
        module = importlib.import_module(f"lib_rimo.commands.{verb}")
        monkeypatch.setattr(module, "run", lambda arguments: 0)
    rng = random.Random(0)
    unforeseen_ones = []
    for verb in verbs():
        for _ in range(5 * attack_scale):
            words = arguments_of(verb, rng, odd_folder)
            try:
                status = __main__.main([verb, *words])
            except SystemExit as ended:  # argparse's own refusal, and --help
                status = ended.code
            assert status in (0, 1, 2), (verb, words)
            said = capsys.readouterr().err
            if "nobody foresaw" in said or "Traceback" in said:
                unforeseen_ones.append((verb, words, said[-500:]))
    assert not unforeseen_ones, "\n".join(map(str, unforeseen_ones))


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
