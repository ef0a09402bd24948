"""What a tag has to draw: that of its file with the block weights baked in."""

from contextlib import suppress
from typing import Any

from lib_rimo.lora.bake import bake
from lib_rimo.lora.files import read_lora, write_lora
from lib_rimo.weights.strength import layer_strength
from lib_rimo.weights.tags import parse_prompt
from tests.webui.server import Drawn, RefusedError, Server


def draw_baked(server: Server, text: str, family: str, **settings: Any) -> Drawn:
    """A cat with the LoRA of the tag `text`, which stands in a file of its own."""
    _, (tag,), _ = parse_prompt(text)
    path = server.data / f"models/Lora/{tag.name}.safetensors"
    baked = bake(read_lora(path), lambda key: layer_strength(tag, key, family), text)
    write_lora(path.with_name("baked.safetensors"), baked.tensors, baked.metadata)
    with suppress(RefusedError):  # ersatzForge has no such route, and finds the file by its name
        server.call("refresh-loras", {})
    return server.draw("a cat <lora:baked:1>", **settings)
