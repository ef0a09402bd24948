"""Which of a WebUI's libraries the trainer uses, and that only its own folder is touched."""

import subprocess
from importlib.metadata import PackageNotFoundError

import pytest

from lib_rimo.errors import UserError
from lib_rimo.hosts import environment
from lib_rimo.hosts.environment import TrainerEnvironment, requirements


@pytest.fixture
def present(monkeypatch):
    """The versions that the WebUI has."""
    versions = {}

    def version(name):
        if name not in versions:
            raise PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(environment.importlib.metadata, "version", version)
    return versions


@pytest.fixture
def trainer(tmp_path, monkeypatch, present):
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    return TrainerEnvironment()


def names(lines):
    return {line.partition("==")[0] for line in lines}


def test_what_is_good_enough_is_not_installed_again(trainer, present):
    present.update(torch="2.6.0+cu124", numpy="1.26.4", tqdm="4.66.1", transformers="4.30.2")
    missing = names(trainer.missing())
    assert not missing & {"torch", "numpy", "tqdm"}
    assert {"diffusers", "transformers", "lycoris-lora"} <= missing


@pytest.mark.parametrize("torch", ["2.1.2+cu121", "1.13.1", None])
def test_with_an_old_torch_nothing_of_the_webuis_is_used(trainer, present, torch):
    present.update(numpy="1.26.4")
    if torch is not None:
        present["torch"] = torch
    assert trainer.is_apart()
    assert {"torch", "numpy"} <= names(trainer.missing())


def test_without_a_network_one_sentence_and_no_stamp(trainer, present, monkeypatch):
    present["torch"] = "2.6.0"
    commands = []

    def run(command):
        commands.append(command)
        failed = "pip" in command
        return subprocess.CompletedProcess(command, failed, str(trainer.folder), "a\nno network")

    monkeypatch.setattr(environment.venv, "create", lambda folder, **_: folder.mkdir(parents=True))
    monkeypatch.setattr(environment, "_run", run)
    with pytest.raises(UserError, match=r"check the network connection .*\(no network\)"):
        trainer.prepare()
    assert not trainer.is_ready()
    # The only Python that pip is run with is the environment's own.
    assert {command[0] for command in commands} == {str(trainer.python)}


def test_libraries_that_do_not_go_together_are_replaced_as_a_whole(trainer, present, monkeypatch):
    present["torch"] = "2.6.0"

    def run(command):
        broken = any("lib_rimo" in word for word in command)
        return subprocess.CompletedProcess(command, broken, str(trainer.folder), "ImportError: x")

    monkeypatch.setattr(environment.venv, "create", lambda folder, **_: folder.mkdir(parents=True))
    monkeypatch.setattr(environment, "_run", run)
    with pytest.raises(UserError, match=r"do not go together .*ImportError: x"):
        trainer.prepare()
    assert trainer.is_apart()
    assert "torch" in names(trainer.missing())


def test_once_done_it_stays_done_until_the_webui_changes(trainer, present, monkeypatch):
    present["torch"] = "2.6.0"

    def create(folder, **_):
        trainer.python.parent.mkdir(parents=True)
        trainer.python.touch()

    def run(command):
        return subprocess.CompletedProcess(command, 0, str(trainer.folder), "")

    monkeypatch.setattr(environment.venv, "create", create)
    monkeypatch.setattr(environment, "_run", run)
    trainer.prepare()
    assert trainer.is_ready()
    assert (trainer.folder / "webui.pth").exists()
    monkeypatch.setattr(environment, "_run", None)  # nothing is run again
    trainer.prepare()
    present["torch"] = "2.1.2"
    assert not trainer.is_ready()


def test_conditions_of_requirements_are_understood(monkeypatch):
    monkeypatch.setattr(environment.sys, "platform", "win32")
    assert environment._is_met('animeface==2.0.3; sys_platform == "linux"')
    monkeypatch.setattr(environment.sys, "platform", "linux")
    assert not environment._is_met('nothing-of-that-name==1; sys_platform == "linux"')
    assert environment._is_met('nothing-of-that-name==1; python_version < "3.2"')
    assert all("==" in line for line in requirements())
