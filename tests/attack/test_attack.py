"""The attack, small: nothing breaks, nothing is lost, nobody gets in."""

import os
import subprocess
import sys

import pytest

from lib_rimo.environment import ROOT
from tests.attack.__main__ import PARTS, run_part

# Seconds on a busy machine measure the machine: `test_parsers.py` counts steps instead.
TIMED = {"long texts"}
FORKED = {"kills"}


@pytest.mark.parametrize("part", [part for part in PARTS if part not in TIMED | FORKED])
@pytest.mark.filterwarnings("ignore")
def test_nothing_gives_way(part, attack_scale):
    try:
        tally = run_part(part, PARTS[part].small * attack_scale)
    except (ImportError, RuntimeError) as reason:
        pytest.skip(str(reason))
    assert not tally.failures, "\n".join(tally.examples)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that can fork")
def test_killed_trainings_go_on_to_the_same_bits(attack_scale):
    count = PARTS["kills"].small * attack_scale
    command = [sys.executable, "-m", "tests.attack", "--part", "kills", "--count", str(count)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "| kills |" in done.stdout
