"""Files of any kind end in a LoRA or in one sentence, wherever they are read."""

import argparse
import re
from types import SimpleNamespace

import pytest

from lib_rimo.commands import bake, info
from lib_rimo.errors import UserError
from lib_rimo.inference.apply import LoraFolder, LoraMerger
from lib_rimo.lora.facts import read_facts
from lib_rimo.ui.panel_server import answer
from lib_rimo.weights.presets import DEFAULT_PRESETS
from lib_rimo.weights.tags import LoraTag
from tests.attack.odd_loras import odd_loras
from tests.sd.narrow import narrow_checkpoint

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def call(verb, *words):
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    return verb.run(parser.parse_args([str(word) for word in words]))


def attempt(action):
    """What the user is told; only a UserError may come."""
    said = ""
    try:
        action()
    except UserError as error:
        said = str(error)
    assert not CONTROL.search(said), repr(said)
    assert len(said) < 1000
    return said


@pytest.mark.filterwarnings("ignore")
def test_every_reader_of_loras_stands_any_file(tmp_path, capsys, attack_scale):
    merger = LoraMerger(narrow_checkpoint("sd1"))
    weights = {name: p.clone() for name, p in merger.checkpoint.unet.named_parameters()}
    path = tmp_path / "odd.safetensors"
    host = SimpleNamespace(
        presets=lambda: DEFAULT_PRESETS, lora_path=lambda name: path, panel_messages=lambda: ()
    )
    usable = 0
    folder, out = LoraFolder(tmp_path), tmp_path / "out.safetensors"
    for what, content in odd_loras(60 * attack_scale):
        path.write_bytes(content)
        capsys.readouterr()
        said = attempt(lambda: call(info, path))
        assert not CONTROL.search(capsys.readouterr().out), what
        attempt(lambda: call(info, path, "--json"))
        baked = attempt(lambda: call(bake, path, "<lora:odd:0.5:M00@0.3>", out))
        read_facts(path)
        answer(host, '{"prompt": "<lora:odd:1:MIDD>"}')
        unread = attempt(lambda: folder.find("odd"))
        if not unread:
            usable += 1
            messages = merger.apply([(folder.find("odd"), LoraTag("odd"))])
            assert all(not CONTROL.search(str(message)) for message in messages), what
            finite = all(p.isfinite().all() for p in merger.checkpoint.unet.parameters())
            assert finite, what
        assert bool(said) >= bool(unread), what  # what info reads, generate does too
        assert baked or out.exists()
        out.unlink(missing_ok=True)
    merger.clear()
    assert all(p.equal(weights[name]) for name, p in merger.checkpoint.unet.named_parameters())
    assert usable > 5
