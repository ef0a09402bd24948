"""Which of a WebUI's libraries the trainer uses, and that only its own folder is touched."""

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError

import pytest

from lib_rimo.environment import ROOT
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

    monkeypatch.setattr("importlib.metadata.version", version)
    return versions


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Where the WebUI's libraries are."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.setattr(environment.site, "getsitepackages", lambda: [str(folder)])
    return folder


@pytest.fixture
def trainer(tmp_path, monkeypatch, present, packages):
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    return TrainerEnvironment()


def names(lines):
    return {line.partition("==")[0] for line in lines}


def test_what_is_good_enough_is_not_installed_again(trainer, present):
    present.update(torch="2.6.0+cu124", numpy="1.26.4", tqdm="4.66.1", transformers="4.30.2")
    missing = names(trainer.missing())
    assert not missing & {"torch", "numpy", "tqdm"}
    assert {"diffusers", "transformers", "lycoris-lora"} <= missing


@pytest.mark.parametrize(
    ("name", "version", "serves"),
    [
        ("opencv-python", "4.8.0.76", True),
        ("opencv-contrib-python", "4.10.0.84", True),
        ("opencv-python", "5.0.0.93", False),  # without the cascade
    ],
)
def test_opencv_of_another_name_serves(trainer, present, name, version, serves):
    present.update({"torch": "2.6.0", name: version})
    assert ("opencv-python-headless" not in names(trainer.missing())) == serves


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

    monkeypatch.setattr(environment, "make_virtual_environment", lambda f: f.mkdir(parents=True))
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

    monkeypatch.setattr(environment, "make_virtual_environment", lambda f: f.mkdir(parents=True))
    monkeypatch.setattr(environment, "_run", run)
    with pytest.raises(UserError, match=r"do not go together .*ImportError: x"):
        trainer.prepare()
    assert trainer.is_apart()
    assert "torch" in names(trainer.missing())


def install(packages, name):
    """Put a library beside the WebUI's, as pip does."""
    (packages / name).mkdir()
    os.utime(packages, ns=(0, packages.stat().st_mtime_ns + 1))  # some clocks tick slowly


def test_once_done_it_stays_done_until_the_webui_changes(trainer, present, packages, monkeypatch):
    present["torch"] = "2.6.0"

    def create(_):
        trainer.python.parent.mkdir(parents=True)
        trainer.python.touch()

    def run(command):
        return subprocess.CompletedProcess(command, 0, str(trainer.folder), "")

    monkeypatch.setattr(environment, "make_virtual_environment", create)
    monkeypatch.setattr(environment, "_run", run)
    trainer.prepare()
    assert trainer.is_ready()
    assert (trainer.folder / "webui.pth").exists()
    monkeypatch.setattr(environment, "_run", None)  # nothing is run again
    trainer.prepare()
    install(packages, "other-1.0.dist-info")
    assert trainer.is_ready()
    present["torch"] = "2.1.2"
    install(packages, "torch-2.1.2.dist-info")
    assert not trainer.is_ready()


def test_onnxruntime_of_its_own_is_installed_once_and_seen(trainer, present, monkeypatch):
    present["torch"] = "2.6.0"
    installed = []
    trainer.folder.mkdir(parents=True)

    def run(command):
        if "pip" in command:
            installed.append(command[-1])
            (trainer.folder / "onnxruntime").mkdir()
        return subprocess.CompletedProcess(command, 0, str(trainer.folder), "")

    monkeypatch.setattr(environment, "_run", run)
    trainer._see_host()
    assert "'onnxruntime'" in (trainer.folder / "webui.pth").read_text()  # the WebUI's, if any
    trainer.prepare_onnx()
    trainer.prepare_onnx()
    assert [line.partition("==")[0] for line in installed] == ["onnxruntime"]
    assert "'onnxruntime'" not in (trainer.folder / "webui.pth").read_text()


def test_libraries_that_the_webuis_environment_sends_on_to_are_found(
    trainer, present, packages, tmp_path, monkeypatch
):
    """What counts as present has to be there for the trainer too: `pip install --user` is one."""
    present["torch"] = "2.6.0"
    users = tmp_path / "user/site-packages"
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(packages), str(users), *sys.path])
    trainer.folder.mkdir(parents=True)
    monkeypatch.setattr(
        environment, "_run", lambda _: subprocess.CompletedProcess([], 0, str(trainer.folder), "")
    )
    trainer._see_host()
    lines = (trainer.folder / "webui.pth").read_text().splitlines()
    assert lines[:2] == [str(packages), str(users)]
    assert str(tmp_path) not in lines


def test_a_start_looks_up_versions_only_after_something_was_installed(
    trainer, packages, monkeypatch
):
    trainer.python.parent.mkdir(parents=True)
    trainer.python.touch()
    trainer._stamp.write_text(trainer._fingerprint())
    looked_up = []
    monkeypatch.setattr(environment, "_is_met", lambda line: looked_up.append(line) is None)
    assert [trainer.is_ready() for _ in "12"] == [False, False]  # by other versions than before
    trainer._stamp.write_text(trainer._fingerprint())
    assert trainer.is_ready()
    looked_up.clear()
    assert trainer.is_ready()
    assert not looked_up
    install(packages, "other-1.0.dist-info")
    assert trainer.is_ready()
    assert looked_up


def test_an_update_that_needs_a_newer_library_is_noticed(trainer, present, monkeypatch):
    present.update(torch="2.6.0", pillow="10.4.0")
    trainer.python.parent.mkdir(parents=True)
    trainer.python.touch()
    trainer._stamp.write_text(trainer._fingerprint())
    assert [trainer.is_ready() for _ in "12"] == [True, True]
    monkeypatch.setitem(environment.GOOD_ENOUGH, "pillow", ("11.0", None))
    assert not trainer.is_ready()


def test_text_in_pictures_has_a_pillow_that_draws_it(trainer, present):
    """AUTOMATIC1111's 9.5 has no font of its own of any size: a search broke off at its strip."""
    present.update(torch="2.6.0", pillow="9.5.0")
    assert "pillow" in names(trainer.missing())


def test_a_start_imports_only_what_it_needs():
    program = "import sys, lib_rimo.hosts.environment; print(*sys.modules)"
    command = [sys.executable, "-S", "-c", program]
    loaded = subprocess.check_output(command, cwd=ROOT, text=True).split()
    assert "lib_rimo.hosts.environment" in loaded
    assert not {"importlib.metadata", "subprocess", "venv"} & set(loaded)


def test_conditions_of_requirements_are_understood(monkeypatch):
    monkeypatch.setattr(environment.sys, "platform", "win32")
    assert environment._is_met('nothing-of-that-name==1; sys_platform == "linux"')
    for condition in ('sys_platform != "linux"', '(os_name == "nt" or sys_platform == "win32")'):
        assert not environment._is_met(f"nothing-of-that-name==1; {condition}")
    monkeypatch.setattr(environment.sys, "platform", "linux")
    assert not environment._is_met('nothing-of-that-name==1; sys_platform == "linux"')
    assert environment._is_met('nothing-of-that-name==1; python_version < "3.2"')
    assert all("==" in line for line in requirements())


def test_an_installation_is_seen_by_other_processes(trainer, present, monkeypatch):
    present["torch"] = "2.6.0"
    seen = []

    def run(command):
        if "pip" in command:
            (trainer.folder / "large").write_bytes(bytes(3_500_000))
            seen.append(TrainerEnvironment().installation())
        return subprocess.CompletedProcess(command, 0, str(trainer.folder), "")

    monkeypatch.setattr(environment, "make_virtual_environment", lambda f: f.mkdir(parents=True))
    monkeypatch.setattr(environment, "_run", run)
    trainer.prepare()
    (going_on,) = seen
    assert (going_on.megabytes, going_on.expected) == (3, environment.MEGABYTES)
    assert "3 of about 511 MB" in going_on.message().text()
    assert trainer.installation() is None


def test_an_installation_whose_process_is_gone_does_not_go_on(trainer):
    sign = trainer.folder.with_suffix(".installing")
    sign.parent.mkdir(parents=True)
    sign.write_text("1")
    assert trainer.installation() is not None
    os.utime(sign, (1, 1))
    assert trainer.installation() is None
