"""What an SDXL training takes of a GPU: the estimate beside what is held on the meta device."""

import dataclasses
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from torch.nn import functional

from lib_rimo.messages import Message
from lib_rimo.sd import ldm_layout
from lib_rimo.training.config.options import TrainingOptions
from lib_rimo.training.jobs import estimate as module
from lib_rimo.training.jobs.estimate import (
    estimate,
    find_shortage,
    memory_of,
    read_model,
)
from lib_rimo.training.jobs.machine import Machine
from lib_rimo.training.network import checkpointing
from lib_rimo.training.network.lean_unet import make_lean
from lib_rimo.training.network.narrow import FP8, narrow_unet
from lib_rimo.training.network.network import Network, Rank
from tests.training.jobs.test_estimate import write_header
from tests.training.network.held import Held, full_sdxl

META, HALF = torch.device("meta"), torch.bfloat16
REST = {  # as large as Illustrious': two text encoders, the autoencoder
    "conditioner.embedders.0.transformer.text_model.encoder.weight": (160_235, 768),
    "conditioner.embedders.1.model.ln_final.weight": (1280,),
    "conditioner.embedders.1.model.transformer.weight": (542_702, 1280),
    "first_stage_model.encoder.conv_in.weight": (128, 3, 3, 3),
    "first_stage_model.decoder.weight": (653_515, 128),
}


@pytest.fixture(scope="module")
def illustrious(tmp_path_factory):
    """The header of a file of SDXL's size."""
    state = full_sdxl().state_dict()
    shapes = ldm_layout.to_ldm(state, ldm_layout.unet_layout(state))
    path = tmp_path_factory.mktemp("model") / "illustrious.safetensors"
    write_header(path, {key: list(tensor.shape) for key, tensor in shapes.items()} | REST)
    return TrainingOptions(
        pretrained_model_name_or_path=str(path),
        train_batch_size=1,
        text_encoder_lr=0.0,
        network_dim=16,
    )


def gpu(gigabytes):
    return Machine("cuda", Message("a GPU"), gigabytes * 1e9, 1e13)


def flash(queries, keys, values, **_):
    """A GPU's attention, which keeps no matrix of all pairs."""
    return torch.ops.aten._scaled_dot_product_flash_attention(queries, keys, values)[0]


def held_by_encoding(side):
    """What encoding one picture holds, with the autoencoder, for that is done beside the UNet."""
    with META:
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
        ).to(HALF)
    held = Held()
    held.ignore(*vae.parameters())
    with torch.no_grad(), held:
        vae.encode(torch.empty(1, 3, side, side, device=META, dtype=HALF))
    return held.peak + sum(parameter.nbytes for parameter in vae.parameters())


@pytest.mark.parametrize("sparing", [False, True])
def test_the_estimate_is_what_is_held(illustrious, monkeypatch, sparing):
    options = dataclasses.replace(
        illustrious,
        resolution="768",
        gradient_checkpointing=True,
        cache_text_encoder_outputs=True,
        fp8_base=sparing,
        cpu_offload_checkpointing=sparing,
    )
    unet = full_sdxl()
    if sparing:
        narrow_unet(unet, FP8, META)
    with META:
        network = Network("sdxl", unet, [], lambda block: Rank(options.network_dim, 2.0))
    make_lean(unet)
    unet.train()
    checkpointing.recompute_large_activations(unet, "sdxl", is_random=False, cpu_offload=sparing)
    monkeypatch.setattr(functional, "scaled_dot_product_attention", flash)
    # Main memory's share, which counts as none.
    monkeypatch.setattr(checkpointing, "_in_main_memory", lambda x: x.new_empty(1).expand(x.shape))
    back = lambda copy, device: torch.empty_like(copy, device=device)  # noqa: E731
    monkeypatch.setattr(checkpointing, "_on_device", back)
    frozen = [*unet.parameters(), *unet.buffers()]
    like = {"device": META, "dtype": HALF}
    inputs = torch.empty(1, 4, 96, 96, **like), torch.empty(1, device=META)
    added = {"text_embeds": torch.empty(1, 1280, **like), "time_ids": torch.empty(1, 6, **like)}
    text = torch.empty(1, 77, 2048, **like)
    held = Held()
    held.ignore(*frozen)
    with held:
        unet(*inputs, text, added_cond_kwargs=added).sample.float().square().mean().backward()
    weights = sum(t.numel() * t.element_size() for t in frozen if not t.requires_grad)
    trained = sum(p.numel() * 4 for p in network.adapters.parameters())
    # With the weights that are trained, and Lion's one value for each.
    expected = weights + 2 * trained + max(held.peak, held_by_encoding(768))
    model = read_model(Path(illustrious.pretrained_model_name_or_path), "768")
    estimated = memory_of(model, options, gpu(8)) - module.GPU_OVERHEAD
    assert estimated == pytest.approx(expected, rel=0.1)


def test_train_proposes_it_too(illustrious, monkeypatch):
    for gigabytes, proposes in ((6, True), (24, False)):
        monkeypatch.setattr(module, "this_machine", lambda device, of=gigabytes: gpu(of))
        assert (find_shortage(illustrious) is not None) == proposes
    nameless = dataclasses.replace(illustrious, pretrained_model_name_or_path="")
    assert find_shortage(nameless) is None


def test_swapped_blocks_are_not_counted(illustrious):
    model = read_model(Path(illustrious.pretrained_model_name_or_path), "1024")
    options = dataclasses.replace(illustrious, gradient_checkpointing=True)
    swapping = dataclasses.replace(options, blocks_to_swap=20)
    spared = memory_of(model, options, gpu(8)) - memory_of(model, swapping, gpu(8))
    assert spared == 18 * model.transformer_blocks[0] * 2
    assert len(model.transformer_blocks) == 70


@pytest.mark.parametrize(
    ("resolution", "gigabytes", "changes"),
    [
        ("1024", 8, "cache_text_encoder_outputs true, gradient_checkpointing true it"),
        ("768", 6, "cache_text_encoder_outputs true, gradient_checkpointing true, fp8_base"),
        ("1024", 4, "blocks_to_swap"),
    ],
)
def test_the_cheapest_set_that_fits_is_proposed(
    illustrious, monkeypatch, tmp_path, resolution, gigabytes, changes
):
    monkeypatch.setattr(module, "this_machine", lambda device: gpu(gigabytes))
    options = dataclasses.replace(illustrious, resolution=resolution)
    told = estimate(options, tmp_path)
    assert not told.fits
    assert told.messages[1].text().startswith("It cannot fit as it is. With ")
    assert changes in told.messages[1].text()
