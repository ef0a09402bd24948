"""The page's captions: nothing that was typed is lost, all of it can be undone; tags proposed."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from lib_rimo.training.data.booru_tags import common_tags

NODE = shutil.which("node")
COMMON = ["long hair", "very long hair", "long sleeves", "hair ribbon", "along"]
OWN = [["long dress", 2], ["hat", 5]]
TYPED = {
    "long": ["long dress", "long hair", "long sleeves", "very long hair"],  # the set's own first
    "LONG_H": ["long hair", "very long hair"],
    "ha": ["hat", "hair ribbon", "long hair", "very long hair"],
    "hat": [],  # it is all there
    "": [],
}


@pytest.mark.skipif(NODE is None, reason="needs node to run the page's scripts")
def test_captions_are_kept_undone_and_proposed_as_they_were_typed(attack_scale):
    asked = {
        "seeds": list(range(200 * attack_scale)),
        "proposals": {"common": COMMON, "own": OWN, "typed": list(TYPED)},
    }
    run = subprocess.run(
        [NODE, str(Path(__file__).with_name("captions.js"))],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    told = json.loads(run.stdout)
    assert told["faults"] == []
    assert dict(zip(TYPED, told["proposed"], strict=True)) == TYPED


def test_the_common_tags_are_tags():
    tags = common_tags()
    assert len(tags) > 1000
    assert len(set(tags)) == len(tags)
    assert [tag for tag in tags if "#" in tag or "_" in tag.strip("^_ ") or len(tag) > 40] == []
