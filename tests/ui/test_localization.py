"""The Train tab in Chinese: every text has a translation, and what the server says is found."""

import dataclasses
import json
import re

import pytest

from lib_rimo.environment import ROOT
from lib_rimo.errors import UserError
from lib_rimo.files import written_beside
from lib_rimo.training.config.options import GROUPS, TrainingOptions
from lib_rimo.training.jobs.diagnosis import diagnose
from lib_rimo.training.jobs.estimate import estimate
from lib_rimo.training.jobs.job import explain
from lib_rimo.training.jobs.progress import Progress
from lib_rimo.training.loop import crawling, not_finite
from lib_rimo.ui.train_server import HIDDEN_OPTIONS
from tests.training.conftest import narrow_sd1  # noqa: F401 - a fixture

CHINESE = json.loads((ROOT / "localizations" / "zh_CN.json").read_text(encoding="utf-8"))
SCRIPTS = sorted((ROOT / "javascript").glob("rimo_train*.js"))


def test_every_text_of_the_page_is_translated():
    said = set()
    for path in SCRIPTS:
        source = path.read_text(encoding="utf-8")
        said |= set(re.findall(r'\b(?:say|button|labelled|card)\("([^"]+)"', source))
        said |= set(re.findall(r'\bbutton\([^,]+, "([^"]+)"', source))
        said |= set(re.findall(r'\blabelled\([^()]+, "([^"]+)"\)', source))
        said |= set(re.findall(r'#cross\("([^"]+)"', source))
    assert len(said) > 60
    said.remove("{name}: ")  # a job's state follows
    said |= {f"{{name}}: {state}" for state in ("finished", "stopped", "failed", "died")}
    assert {text for text in said if re.search("[A-Za-z]{2}", text)} <= set(CHINESE)


def test_every_option_is_translated():
    said = set(GROUPS.values())
    for option in dataclasses.fields(TrainingOptions):
        if option.name not in HIDDEN_OPTIONS:
            said.add(option.metadata["help"])
            said |= {text for text in [option.metadata["usual"]] if re.search("^0, or", text)}
    assert said <= set(CHINESE)


def test_translations_have_the_same_holes():
    for text, translated in CHINESE.items():
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", translated)), text


def refusal_of(**options):
    with pytest.raises(UserError) as refused:
        TrainingOptions(pretrained_model_name_or_path="m", train_data_dir="d", **options).validate()
    return str(refused.value)


def endings(folder):
    """What is said of every way in which a training can end badly."""
    log = folder / "log.txt"
    log.write_text("")
    for status, memory, full in (
        (None, False, False),
        (-9, False, False),
        (-9, True, False),
        (-11, False, False),
        (-15, False, False),
        (1, False, True),
    ):
        yield diagnose(
            Progress(started=1.0, saved=[(3, str(log))]),
            log=log,
            can_resume=True,
            exit_status=status,
            memory_ran_out=memory,
            disk_full=full,
        ).text


def unwritten(folder):
    """What is said of files that cannot be written."""
    for error in (OSError(28, "No space left on device"), OSError(13, "-")):
        with pytest.raises(UserError) as told, written_beside(folder / "one.txt"):
            raise error
        said = str(told.value).replace(str(folder), "/loras")
        yield said
    finished = Progress(started=1.0, saved=[(3, str(folder))], end={"kind": "finished"})
    ending = {"log": folder, "can_resume": True, "exit_status": 0, "unpublished": said}
    yield diagnose(finished, **ending).text.replace(str(folder), "/one.safetensors")


def test_what_the_server_says_is_found(page, narrow_sd1, tmp_path):  # noqa: F811
    options = TrainingOptions(pretrained_model_name_or_path=str(narrow_sd1), resolution="64")
    too_large = dataclasses.replace(options, train_batch_size=1024, resolution="8192")
    said = [
        estimate(options, tmp_path).text,
        estimate(too_large, tmp_path).advice,
        refusal_of(network_dim=0),
        refusal_of(network_dim="much"),
        refusal_of(mixed_precision="int4"),
        refusal_of(output_name="../up"),
        str(explain(MemoryError(), options)),
        str(explain(OSError(28, "No space left on device"), options)),
        *unwritten(tmp_path),
        crawling(70.0),
        not_finite("loss"),
        *endings(tmp_path),
    ]
    assert all(said)
    page.set_content("<p></p>")
    page.add_script_tag(content=f"window.localization = {json.dumps(CHINESE)};")
    script = (ROOT / "javascript" / "rimo_page.js").read_text(encoding="utf-8")
    page.add_script_tag(content=f"{script}; window.RimoPage = RimoPage;")
    for sentence in said:
        told = page.evaluate("sentence => RimoPage.told(sentence)", sentence)
        english = re.findall(r"\b(?:the|is|and|use|then|was|try|of)\b", told)
        assert english == [], told
    assert page.evaluate("RimoPage.told('Nobody said this.')") == "Nobody said this."
