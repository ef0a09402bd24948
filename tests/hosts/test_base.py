import inspect
import sys

import pytest

from lib_rimo.hosts.base import connect, detect, register
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


def test_callbacks_are_registered_away_from_the_scripts_stack():
    stacks = []
    register(lambda: stacks.append([frame.function for frame in inspect.stack(0)]))
    assert sys._getframe().f_code.co_name not in stacks[0]


def test_what_fails_while_registering_is_not_lost():
    def fail():
        raise ValueError("no such callback")

    with pytest.raises(ValueError, match="no such callback"):
        register(fail)
