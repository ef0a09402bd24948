"""`choose` and `blocks` say what is wrong with a LoRA before anything is loaded or drawn."""

import argparse
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lib_rimo.commands import blocks, choose
from lib_rimo.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    whole = {
        "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": torch.ones(1, 4),
        "lora_unet_mid_block_attentions_0_proj_in.lora_up.weight": torch.ones(4, 1),
    }
    save_file(whole, tmp_path / "rimo.safetensors")
    return tmp_path


def searched(verb, folder: Path, *more: str) -> str:
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    arguments = ["rimo", "--lora-dir", str(folder), "--pictures", str(folder), *more]
    with pytest.raises(UserError) as raised:
        verb.run(parser.parse_args(arguments))
    return str(raised.value)


@pytest.mark.parametrize("verb", [choose, blocks])
def test_a_broken_lora_is_a_sentence(verb, folder: Path):
    file = folder / "rimo.safetensors"
    file.write_bytes(file.read_bytes()[:-3])
    assert "rimo.safetensors" in searched(verb, folder)


def test_so_is_a_broken_step_of_a_whole_one(folder: Path):
    (folder / "rimo-step00000100.safetensors").write_bytes(b"\0" * 8)
    assert "rimo-step00000100.safetensors" in searched(choose, folder)


def test_a_whole_one_needs_pictures(folder: Path):
    assert "picture" in searched(choose, folder)
