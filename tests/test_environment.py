import os
import subprocess

import pytest

from lib_rimo import environment, pytorch_build
from lib_rimo.__main__ import main
from lib_rimo.errors import UserError


@pytest.fixture
def prepared_for_tests(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "VENV", tmp_path)
    python = environment.python_of(tmp_path)
    python.parent.mkdir()
    python.touch()
    environment._stamp("test").write_text(environment._fingerprint())


def test_what_holds_more_serves_for_less(prepared_for_tests):
    assert environment.is_prepared("test")
    assert environment.is_prepared("trainer")
    environment._stamp("test").unlink()
    environment._stamp("trainer").write_text(environment._fingerprint())
    assert environment.is_prepared("trainer")
    assert not environment.is_prepared("ui")


def test_other_pins_are_installed_again(prepared_for_tests, monkeypatch):
    monkeypatch.setattr(environment, "_fingerprint", lambda: "others")
    assert not environment.is_prepared("trainer")


@pytest.mark.parametrize("version", [(3, 9, 18), (3, 14, 0)])
def test_a_python_without_wheels_is_told_so(version, monkeypatch, capsys):
    monkeypatch.setattr("sys.version_info", version)
    monkeypatch.delenv("RIMO_ENVIRONMENT", raising=False)
    assert main(["info", "x.safetensors"]) == 2
    assert "Rimo needs Python 3.10 to 3.13" in capsys.readouterr().err


def test_help_and_the_list_of_verbs_install_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(environment, "VENV", tmp_path / "none")
    monkeypatch.setattr(environment, "prepare", None)
    assert main([]) == 0
    assert "generate" in capsys.readouterr().out
    for verb in ("test", "train", "generate"):
        with pytest.raises(SystemExit) as stopped:
            main([verb, "--help"])
        assert stopped.value.code == 0
        assert f"lib_rimo {verb}" in capsys.readouterr().out


def test_an_environment_without_pip_is_made_anew(tmp_path):
    import venv

    venv.create(tmp_path, with_pip=False)
    (tmp_path / "left").touch()
    environment.make_virtual_environment(tmp_path)
    assert not (tmp_path / "left").exists()
    environment.make_virtual_environment(tmp_path)  # has pip now


def test_a_python_without_ensurepip_names_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"apt install python3\.\d+-venv"):
        environment.make_virtual_environment(tmp_path / "new")


@pytest.mark.parametrize(
    ("platform", "has_nvidia", "asked", "index"),
    [
        ("win32", True, "", "cu130"),
        ("win32", False, "", None),
        ("linux", True, "", None),
        ("linux", False, "", "cpu"),
        ("darwin", False, "", None),
        ("linux", False, "cpu", "cpu"),
        ("linux", True, "https://mirror/x", "x"),
    ],
)
def test_pytorch_is_built_for_the_machine(platform, has_nvidia, asked, index, monkeypatch):
    monkeypatch.setenv(pytorch_build.VARIABLE, asked)
    monkeypatch.setattr("shutil.which", lambda _: "nvidia-smi" if has_nvidia else None)
    monkeypatch.setattr(pytorch_build.Path, "exists", lambda _: False)
    found = pytorch_build.chosen(platform).index
    assert (found and found.rpartition("/")[2]) == index


def test_an_unknown_build_is_named(monkeypatch):
    monkeypatch.setenv(pytorch_build.VARIABLE, "cudda")
    with pytest.raises(UserError, match="set it to one of cpu, cuda"):
        pytorch_build.chosen()


@pytest.mark.skipif(os.name == "nt", reason="for a Unix shell")
def test_the_start_file_passes_over_names_that_start_nothing(tmp_path):
    """As pyenv has them: the name is there, its version is not chosen."""
    for name, answers in (("python3.13", "exit 127"), ("python3.12", '[ "$1" = -c ] || echo "$@"')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{answers}\n")
        (tmp_path / name).chmod(0o755)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    environ = {**os.environ, "PATH": path, "PYTHON": ""}
    started = [str(environment.ROOT / "rimo.sh")]
    assert subprocess.check_output(started, env=environ, text=True) == "-m lib_rimo ui\n"
