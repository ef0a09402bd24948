import pytest

from lib_rimo.hosts.detection import connect, detect
from tests.hosts.fake_a1111 import FakeA1111


@pytest.mark.parametrize(
    ("folders", "host"),
    [
        (["modules"], "a1111"),
        (["modules", "modules_forge", "backend"], "forge"),
        (["modules", "modules_forge", "ldm_patched"], None),  # reForge, Forge Classic
        ([], None),
    ],
)
def test_hosts_are_told_by_what_is_there(tmp_path, folders, host):
    for folder in folders:
        (tmp_path / folder).mkdir()
    assert detect(tmp_path) == host


def test_the_adapter_is_the_host_s(tmp_path, monkeypatch):
    (tmp_path / "modules").mkdir()
    assert connect(tmp_path) is None  # the Lora extension is switched off
    FakeA1111(tmp_path, {}).put_into(monkeypatch)
    assert connect(tmp_path).name == "a1111"


def test_an_unknown_host_has_no_adapter(tmp_path):
    assert connect(tmp_path) is None
