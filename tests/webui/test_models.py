"""Block weights on a real WebUI whose checkpoint changes, or comes and goes in parts."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.webui.baked import draw_baked
from tests.webui.folder import ROOT

TAG = "<lora:one:1:0,1,0,1,0.5,0,1,0,1,-0.5,1,0,1,0,1,0,1.5>"
LARGE = 1_500_000_000  # bytes; a checkpoint of full size has 2 GB or more
PROMPTS = ("a cat", "a cat <lora:one:1>", f"a cat {TAG}")


@pytest.fixture(scope="module")
def others(server):
    """More checkpoints than the first: one whose model the host makes anew, and on AUTOMATIC1111
    one whose weights it puts into the model that it has, since both have one configuration."""
    first = server.model
    if first.stat().st_size > LARGE:
        pytest.skip("a second checkpoint of full size is too much here")
    tensors = load_file(first)
    save_file(_changed(tensors, 3), first.with_name("other.safetensors"))
    names = {"made anew": "other.safetensors"}
    if server.host == "a1111":
        shutil.copyfile(first.with_suffix(".yaml"), first.with_name("other.yaml"))
        names["weights alone"] = f"{first.stem}.ckpt"
        torch.save(  # the host refuses what newer torches add to their files
            _changed(tensors, 4), first.with_suffix(".ckpt"), _use_new_zipfile_serialization=False
        )
    server.call("refresh-checkpoints", {})
    return names


def _changed(tensors, seed):
    generator = torch.Generator().manual_seed(seed)

    def noisy(tensor):
        noise = torch.randn(tensor.shape, generator=generator)
        return (tensor + 0.1 * tensor.float().std() * noise).to(tensor.dtype)

    return {
        key: noisy(tensor) if "diffusion_model" in key and tensor.ndim > 1 else tensor
        for key, tensor in tensors.items()
    }


@pytest.mark.parametrize("kind", ["made anew", "weights alone"])
def test_blocks_survive_a_switch_of_models(server, others, kind):
    if kind not in others:
        pytest.skip("this host makes every model anew")
    other = {"override_settings": {"sd_model_checkpoint": others[kind]}}
    there = [server.draw(prompt, **other) for prompt in PROMPTS]
    here = [server.draw(prompt) for prompt in PROMPTS]
    assert len({picture.pixels[0].tobytes() for picture in (*there, *here)}) == 6
    for prompt, first, second in zip(reversed(PROMPTS), here[::-1], there[::-1], strict=True):
        assert server.draw(prompt) == first
        assert server.draw(prompt, **other) == second


def test_the_refiner_has_the_blocks_too(server, others):
    # Of a model that it makes anew, AUTOMATIC1111 forgets all LoRAs for the rest of the picture.
    refiner = others.get("weights alone", others["made anew"])
    refined = server.refined(refiner)
    drawn = [server.draw(prompt, **refined) for prompt in PROMPTS]
    # No second model takes over where the refiner is the one that is loaded.
    assert all("Refiner" in picture.parameters for picture in drawn)
    assert len({picture.pixels[0].tobytes() for picture in drawn}) == 3
    assert server.draw("a cat <lora:one:1:ALL>", **refined) == drawn[1]
    assert server.draw("a cat <lora:one:1:NONE>", **refined) == drawn[0]
    # One acts on the first model's steps alone, one on the second's.
    halves = [server.draw(f"a cat {TAG[:-1]}:{half}>", **refined) for half in ("stop=2", "start=2")]
    assert len({picture.pixels[0].tobytes() for picture in (*drawn, *halves)}) == 5
    assert server.draw(PROMPTS[2], **refined) == drawn[2]
    assert draw_baked(server, TAG, "sd1", **refined).distance(drawn[2]) <= 1


def test_a_model_that_comes_and_goes_in_parts(server, start):
    if server.host != "a1111":
        pytest.skip("this host has one way to hold its models")
    in_parts = start(ROOT, arguments=["--medvram"])
    for prompt in (*PROMPTS, f"a cat {TAG[:-1]}:start=1>", *PROMPTS):
        assert in_parts.draw(prompt) == server.draw(prompt)
