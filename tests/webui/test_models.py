"""Block weights on a real WebUI while its checkpoint changes."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

TAG = "<lora:one:1:0,1,0,1,0.5,0,1,0,1,-0.5,1,0,1,0,1,0,1.5>"
LARGE = 1_500_000_000  # bytes; a checkpoint of full size has 2 GB or more
PROMPTS = ("a cat", "a cat <lora:one:1>", f"a cat {TAG}")


@pytest.fixture(scope="module")
def other(server):
    """Settings that draw with another checkpoint than the first."""
    first = server.model
    if first.stat().st_size > LARGE:
        pytest.skip("a second checkpoint of full size is too much here")
    generator = torch.Generator().manual_seed(3)

    def changed(tensor):
        noise = torch.randn(tensor.shape, generator=generator)
        return (tensor + 0.1 * tensor.float().std() * noise).to(tensor.dtype)

    tensors = {
        key: changed(tensor) if "diffusion_model" in key and tensor.ndim > 1 else tensor
        for key, tensor in load_file(first).items()
    }
    save_file(tensors, first.with_name("other.safetensors"))
    if first.with_suffix(".yaml").exists():
        shutil.copyfile(first.with_suffix(".yaml"), first.with_name("other.yaml"))
    server.call("refresh-checkpoints", {})
    return {"override_settings": {"sd_model_checkpoint": "other"}}


def test_blocks_survive_a_switch_of_models(server, other):
    there = [server.draw(prompt, **other) for prompt in PROMPTS]
    here = [server.draw(prompt) for prompt in PROMPTS]
    assert len({picture.pixels[0].tobytes() for picture in (*there, *here)}) == 6
    for prompt, first, second in zip(reversed(PROMPTS), here[::-1], there[::-1], strict=True):
        assert server.draw(prompt) == first
        assert server.draw(prompt, **other) == second


def test_the_refiner_has_the_blocks_too(server, other):
    refined = {"refiner_checkpoint": "other", "refiner_switch_at": 0.5, "steps": 4}
    drawn = [server.draw(prompt, **refined) for prompt in PROMPTS]
    assert len({picture.pixels[0].tobytes() for picture in drawn}) == 3
    assert server.draw("a cat <lora:one:1:ALL>", **refined) == drawn[1]
    assert server.draw("a cat <lora:one:1:NONE>", **refined) == drawn[0]
    # Acts on the first model's steps only, so the second draws as without it.
    halves = [server.draw(f"a cat {TAG[:-1]}:{half}>", **refined) for half in ("stop=2", "start=2")]
    assert len({picture.pixels[0].tobytes() for picture in (*drawn, *halves)}) == 5
    assert server.draw(PROMPTS[2], **refined) == drawn[2]
