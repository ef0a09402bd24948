import inspect
import sys
from functools import partial
from types import SimpleNamespace

import pytest

from lib_rimo.hosts.callbacks import register


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
