import inspect
import sys
from functools import partial
from types import SimpleNamespace

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


def test_callbacks_are_registered_on_a_stack_of_modules():
    """Those without a name, as scripts have none, make the host search all that there are."""
    stacks = []
    host = SimpleNamespace(on_before_ui=lambda _: stacks.append(inspect.stack(0)))
    register(host, on_before_ui=len)
    known = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    (stack,) = stacks
    assert sys._getframe().f_code.co_name not in [frame.function for frame in stack]
    assert {frame.filename for frame in stack[1:]} <= known


def test_callbacks_get_their_names():
    registered = {}
    host = SimpleNamespace(on_one=partial(registered.__setitem__, 1))
    register(host, on_one=len)
    assert registered == {1: len}


def test_what_fails_while_registering_is_not_lost():
    with pytest.raises(AttributeError, match="on_nothing"):
        register(SimpleNamespace(), on_nothing=len)
