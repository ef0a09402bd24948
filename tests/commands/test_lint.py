"""A checker that fails, or is killed, fails the whole."""

import argparse

import pytest

from lib_rimo.commands import lint


@pytest.mark.parametrize(("codes", "result"), [([0], 0), ([0, 1], 1), ([-9], 1), ([-9, 0], 1)])
def test_a_killed_checker_fails(codes, result, monkeypatch):
    checks = [
        ("-c", f"import os; os.kill(os.getpid(), {-c}) if {c} < 0 else exit({c})") for c in codes
    ]
    monkeypatch.setattr(lint, "CHECKS", checks)
    assert lint.run(argparse.Namespace()) == result
