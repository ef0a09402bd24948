"""Block weights on every network type that a real WebUI knows."""

import pytest
import torch
from safetensors import safe_open

from lib_rimo.lora.blocks import block_of_key
from lib_rimo.lora.files import write_lora
from tests.webui.folder import lora_key

RANK, CHUNK = 4, 8
CUT = "IN07"
BLOCKS = ("BASE", "IN04", CUT, "M00", "OUT03")


def lora(layer, out, inside, window, draw):
    return {
        "lora_down.weight": draw(RANK, inside, *window),
        "lora_up.weight": draw(out, RANK, *(1 for _ in window)),
        "alpha": torch.tensor(float(RANK)),
    }


def loha(layer, out, inside, window, draw):
    area = inside * int(torch.tensor(window).prod()) if window else inside
    factors = {f"hada_w{n}_{side}": size for n in "12" for side, size in (("a", out), ("b", area))}
    return {
        name: draw(size, RANK) if name.endswith("a") else 2 * draw(RANK, size)
        for name, size in factors.items()
    } | {"alpha": torch.tensor(float(RANK))}


def lokr(layer, out, inside, window, draw):
    return {"lokr_w1": draw(2, 2), "lokr_w2": draw(out // 2, inside // 2, *window)}


def ia3(layer, out, inside, window, draw):
    return {"weight": draw(out), "on_input": torch.tensor(False)}


def glora(layer, out, inside, window, draw):
    return {
        "a1.weight": draw(RANK, inside),
        "a2.weight": draw(inside, RANK),
        "b1.weight": draw(RANK, inside),
        "b2.weight": draw(out, RANK),
        "alpha": torch.tensor(float(RANK)),
    }


def oft(layer, out, inside, window, draw):
    return {"oft_blocks": draw(out // CHUNK, CHUNK, CHUNK), "alpha": torch.tensor(1.0)}


def full(layer, out, inside, window, draw):
    return {"diff": draw(out, inside, *window) / 4, "diff_b": draw(out) / 4}


def norm(layer, out, inside, window, draw):
    return {"w_norm": draw(out), "b_norm": draw(out)}


def dora(layer, out, inside, window, draw):
    return lora(layer, out, inside, window, draw) | {"dora_scale": 0.5 + draw(1, inside).abs()}


def is_attention(name, shape):
    return len(shape) == 2 and ("attn" in name or "text_model" in name)


def is_convolution(name, shape):
    return len(shape) == 4 and "layers" in name


TYPES = {
    "lora": (lora, is_attention),
    "locon": (lora, is_convolution),
    "loha": (loha, is_attention),
    "loha of convolutions": (loha, is_convolution),
    "lokr": (lokr, is_attention),
    "ia3": (ia3, is_attention),
    "glora": (glora, is_attention),
    "oft": (oft, is_attention),
    "full": (full, lambda name, shape: is_attention(name, shape) and "to_out" in name),
    "norm": (norm, lambda name, shape: "in_layers_0" in name),
    "dora": (dora, is_attention),
}


def write_network(model, path, make, chosen, left_out=()):
    """A random file of a type, without some blocks."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape):
        return torch.randn(*shape, generator=generator) * 0.2

    tensors = {}
    with safe_open(model, "pt") as file:
        for key in sorted(file.keys()):
            name, shape = lora_key(key), file.get_slice(key).get_shape()
            if name is None or block_of_key(name) not in BLOCKS or not chosen(name, shape):
                continue
            out, inside, *window = (*shape, 1)[: max(2, len(shape))]
            made = make(name, out, inside, window, draw)
            if block_of_key(name) not in left_out:
                # kohya's OFT has a prefix of its own
                prefix = name.replace("lora_", "oft_", 1) if make is oft else name
                tensors |= {f"{prefix}.{part}": tensor for part, tensor in made.items()}
    assert tensors
    write_lora(path, tensors, {"ss_base_model_version": "sd_v1", "ss_v2": "False"})


@pytest.mark.parametrize("kind", TYPES)
def test_a_block_at_zero_draws_what_a_file_without_it_draws(server, kind):
    folder = server.data / "models/Lora"
    write_network(server.model, folder / "whole.safetensors", *TYPES[kind])
    write_network(server.model, folder / "part.safetensors", *TYPES[kind], left_out=(CUT,))
    server.call("refresh-loras", {})
    plain, whole = server.draw("a cat"), server.draw("a cat <lora:whole:0.7>")
    if whole == plain and server.host != "a1111":
        pytest.skip("the host does not load this type")
    part = server.draw("a cat <lora:part:0.7>")
    assert len({picture.pixels[0].tobytes() for picture in (plain, whole, part)}) == 3
    assert server.draw(f"a cat <lora:whole:0.7:{CUT}@0>") == part
    half = server.draw(f"a cat <lora:whole:0.7:{CUT}@0.5>")
    assert half not in (whole, part)
    assert server.draw(f"a cat <lora:whole:0.7:{CUT}@1>") == whole
    assert server.draw("a cat <lora:whole:0.7:NONE>") == plain
