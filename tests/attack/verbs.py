"""The command line with odd words behind each verb."""

import argparse
import contextlib
import importlib
import io
import os
import pkgutil
import random
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from lib_rimo import __main__, commands, unforeseen
from tests.attack.loras import odd_loras
from tests.attack.tally import Tally

# They install, test, make figures, or serve until somebody ends them: their options are parsed,
# and what they do is replaced.
LONG = {"demo", "docs", "format", "lint", "lock", "queue", "reproduce", "test", "ui"}
TEXTS = ["", " ", "\x1c", "0", "-1", "1e999", "nan", "9" * 400, "a/b", "..", "../x", "莉莫",
         "\ud800", "x" * 300,
         "a\nb", "\x1b[31m", "1,1,1", "[a:b:", "[" * 2000, "<lora:odd:1:x@", "{name}",
         "0x10", "--", "-", "NaN", "a=b,c=d", "lr=1", "Steps: 1, Clip skip: 99", "64x", "64x64",
         "99999", "true", "CON", "con.safetensors ", "%s%n", "\\\\?\\x", "~root",
         "1:2:3"]  # fmt: skip


def verbs() -> Iterator[str]:
    """All there are."""
    for module in pkgutil.iter_modules(commands.__path__):
        if not module.name.startswith("_"):
            yield module.name


def odd_words(verb: str, rng: random.Random, folder: Path) -> list[str]:
    """Words for a verb: some of its options, some files, some nonsense."""
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


def make_odd_files(folder: Path) -> None:
    """Files of every kind to work on."""
    (folder / "folder").mkdir()
    (folder / "empty.safetensors").touch()
    (folder / "text.toml").write_text("resolution = 1" + "0" * 400)
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "noise.png").write_bytes(random.Random(0).randbytes(999))
    for number, (_, content) in enumerate(odd_loras(3)):
        (folder / f"odd{number}.safetensors").write_bytes(content)
    if os.name == "posix":
        (folder / "dangling.safetensors").symlink_to(folder / "nowhere")
    if sys.platform == "linux":  # elsewhere names are Unicode
        (folder / os.fsdecode(b"\xff\xfe.safetensors")).write_bytes(b"x")


def attack(count: int, seed: int, folder: Path) -> Tally:
    """Every verb `count` times, in the folder of odd files."""
    tally = Tally()
    make_odd_files(folder)
    rng = random.Random(seed)
    with _inside(folder), _replaced(LONG):
        for verb in verbs():
            for _ in range(count):
                words = odd_words(verb, rng, folder)
                status, said = call(verb, words)
                tally.tried["calls"] += 1
                if "nobody foresaw" in said or "Traceback" in said:
                    tally.fail("exceptions", f"{verb} {words}: {said[-300:]}")
                elif status not in (0, 1, 2):
                    tally.fail("exceptions", f"{verb} {words}: status {status}")
    return tally


def call(verb: str, words: list[str]) -> tuple[object, str]:
    """The exit status of a verb and what it said beside its output."""
    said = io.StringIO()
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(said),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        try:
            status: object = __main__.main([verb, *words])
        except SystemExit as ended:  # argparse's own refusal, and --help
            status = ended.code
        except BaseException as error:
            said.write(f"Traceback: {error!r}")
            status = None
    return status, said.getvalue()


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Within it work is done in a folder, and what nobody foresaw is reported there."""
    before, reports = Path.cwd(), unforeseen.FOLDER
    environment = os.environ.get("RIMO_ENVIRONMENT")
    os.chdir(folder)
    os.environ["RIMO_ENVIRONMENT"] = "current"
    unforeseen.FOLDER = folder
    try:
        yield
    finally:
        os.chdir(before)
        unforeseen.FOLDER = reports
        os.environ.pop("RIMO_ENVIRONMENT")
        if environment is not None:
            os.environ["RIMO_ENVIRONMENT"] = environment


@contextlib.contextmanager
def _replaced(names: set[str]) -> Iterator[None]:
    """Within it these verbs parse what they are given, and do nothing."""
    modules = [importlib.import_module(f"lib_rimo.commands.{name}") for name in names]
    originals = [module.run for module in modules]
    for module in modules:
        module.run = lambda arguments: 0
    try:
        yield
    finally:
        for module, original in zip(modules, originals, strict=True):
            module.run = original
