import pytest

from lib_rimo import environment
from lib_rimo.__main__ import main


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
