"""LoRA files as nobody wants them, from a seed: whole, damaged, absurd and hostile ones."""

import argparse
import io
import json
import random
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from lib_rimo.commands import bake, convert, info, resize
from lib_rimo.errors import UserError
from lib_rimo.inference.apply import LoraFolder, LoraMerger
from lib_rimo.lora.facts import read_facts
from lib_rimo.ui.panel_server import answer
from lib_rimo.weights.presets import DEFAULT_PRESETS
from lib_rimo.weights.tags import LoraTag
from tests.attack.tally import Tally
from tests.sd.narrow import narrow_checkpoint

LAYERS = (
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_k",
    "lora_unet_mid_block_attentions_0_proj_in",
    "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_v",
    "lora_te_text_model_encoder_layers_0_mlp_fc1",
    "diffusion_model.output_blocks.3.1.proj_out",
    "x" * 300,
    f"lora_unet_up_blocks_{'1' * 5000}_attentions_0_proj_in",
    "lora_unet_middle_block_7_in_layers_2",
    "diffusion_model.input_blocks.4.2.proj_in",
    "\x1b[31mred\x07",
    "bundle_emb.word",
    "",
    "lora_unet_double_blocks_0_img_attn_proj",
)
FORMS = (
    {"lora_down.weight": (4, 32), "lora_up.weight": (32, 4), "alpha": ()},
    {"lora_A.weight": (4, 32), "lora_B.weight": (32, 4)},
    {"lora_down.weight": (4, 32, 3, 3), "lora_up.weight": (32, 4, 1, 1), "alpha": ()},
    {"hada_w1_a": (32, 4), "hada_w1_b": (4, 32), "hada_w2_a": (32, 4), "hada_w2_b": (4, 32)},
    {"lokr_w1": (4, 4), "lokr_w2_a": (8, 2), "lokr_w2_b": (2, 8), "alpha": ()},
    {"lora_down.weight": (4, 32), "lora_up.weight": (32, 4), "dora_scale": (1, 32)},
    {"diff": (32, 32), "diff_b": (32,)},
    {"w_norm": (32,), "b_norm": (32,)},
    {"weight": (32,), "on_input": ()},
    {"oft_blocks": (4, 8, 8), "alpha": ()},
    {"oft_blocks": (2, 4, 8, 8), "rescale": (32, 1)},
    {"a1.weight": (4, 32), "a2.weight": (32, 4), "b1.weight": (4, 32), "b2.weight": (32, 4),
     "alpha": ()},
    {"word.string_to_param.*": (2, 32)},
    {"nonsense": (3,)},
)  # fmt: skip
DEEP = "[" * 100_000
METADATA = (
    {},
    {"ss_tag_frequency": json.dumps({"1_a": {"1girl": 3, "kimono \x1b[2J": 2}})},
    {"ss_tag_frequency": '{"a": {"b": 1e999}}'},
    {"ss_tag_frequency": DEEP, "rimo_baked_weights": DEEP},
    {"ss_tag_frequency": "[1, 2]", "ss_steps": "\x1b]0;title\x07"},
    {"ss_base_model_version": "\x1b[31m" * 99, "modelspec.architecture": "flux-1-dev/lora"},
    {"ss_v2": "True", "sshs_model_hash": "short"},
    {"x" * 300: "y" * 3000},
)
FAULTS = (
    None, None, None, "nan", "inf", "huge", "rank 0", "wider", "flat", "single", "two alphas",
    "no alpha", "missing", "integers", "half", "gigantic", "truncated", "header", "deep header",
)  # fmt: skip


def odd_loras(count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """(what is odd about it, the file's content), the same ones for the same seed."""
    rng = random.Random(seed)
    for number in range(count):
        fault = rng.choice(FAULTS)
        layers = rng.sample(LAYERS, rng.choice([0, 1, 1, 2, 3]))
        form, metadata = rng.choice(FORMS), rng.choice(METADATA)
        tensors = {}
        for layer in layers:
            for part, shape in form.items():
                tensors[f"{layer}.{part}"] = _tensor(rng, part, shape, fault)
        if fault == "missing" and tensors:
            del tensors[rng.choice(list(tensors))]
        yield f"{number}: {fault}, {sorted(form)}, {layers}", _file(tensors, metadata, fault)


def _tensor(rng: random.Random, part: str, shape: tuple[int, ...], fault: str | None):
    value = 0.1
    if fault in ("nan", "inf", "huge") and shape:
        value = {"nan": float("nan"), "inf": float("inf"), "huge": 3e38}[fault]
    if fault == "rank 0":
        shape = tuple(0 if size == 4 else size for size in shape)
    if fault == "wider" and rng.random() < 0.5:
        shape = tuple(size + 1 for size in shape)
    if fault == "flat" and rng.random() < 0.5:
        shape = (int(np.prod(shape)),)
    if fault == "single" and rng.random() < 0.5:
        shape = ()
    if fault in ("two alphas", "no alpha") and part == "alpha":
        shape = (2,) if fault == "two alphas" else (0,)
    if fault == "gigantic" and part in ("lora_up.weight", "lora_down.weight"):
        shape = (200_000, 1) if part == "lora_up.weight" else (1, 200_000)
    kind = {"integers": np.int64, "half": np.float16}.get(fault or "", np.float32)
    return np.full(shape, value, dtype=kind)


_KINDS = {"float32": "F32", "float16": "F16", "int64": "I64"}


def _file(tensors: dict, metadata: dict[str, str], fault: str | None) -> bytes:
    header: dict = {"__metadata__": metadata} if metadata else {}
    content = b""
    for name, tensor in tensors.items():
        data = tensor.tobytes()
        header[name] = {
            "dtype": _KINDS[tensor.dtype.name],
            "shape": list(tensor.shape),
            "data_offsets": [len(content), len(content) + len(data)],
        }
        content += data
    text = json.dumps(header).encode()
    if fault == "deep header":
        text = b'{"a":' * 50_000
    if fault == "header":
        text = text[:-1]
    whole = struct.pack("<Q", len(text)) + text + content
    return whole[: len(whole) // 2] if fault == "truncated" else whole


def attack(count: int, seed: int, folder: Path) -> Tally:
    """`count` files through all that reads LoRAs: info, bake, drawing, the panel, the API's facts.

    Lost is a base model that is not as it was once all LoRAs are taken out again.
    """
    tally = Tally()
    merger = LoraMerger(narrow_checkpoint("sd1"))
    weights = {name: p.clone() for name, p in merger.checkpoint.unet.named_parameters()}
    path, out = folder / "odd.safetensors", folder / "out" / "out.safetensors"
    other = out.with_name("other.safetensors")
    host = SimpleNamespace(
        presets=lambda: DEFAULT_PRESETS, lora_path=lambda name: path, panel_messages=lambda: ()
    )
    loras = LoraFolder(folder)
    for what, content in odd_loras(count, seed):
        path.write_bytes(content)
        read, printed = _said_by(tally, what, lambda: _call(info, path))
        _said_by(tally, what, lambda: _call(info, path, "--json"))
        baked, _ = _said_by(tally, what, lambda: _call(bake, path, "<lora:odd:0.5:M00@0.3>", out))
        for verb, option in ((convert, "--to=peft"), (resize, "--dim=2")):
            _said_by(tally, f"{option}: {what}", lambda v=verb, o=option: _call(v, path, other, o))
            other.unlink(missing_ok=True)
        with tally.expecting_sentences(what):
            read_facts(path)
            answer(host, '{"prompt": "<lora:odd:1:MIDD>"}')
        unread, _ = _said_by(tally, what, lambda: loras.find("odd"))
        tally.tried["files"] += 1
        if not unread:
            tally.tried["files used"] += 1
            with tally.expecting_sentences(what):
                messages = merger.apply([(loras.find("odd"), LoraTag("odd"))])
                if any(CONTROL.search(str(message)) for message in messages):
                    tally.fail("escapes", f"control characters in messages: {what}")
                if not all(p.isfinite().all() for p in merger.checkpoint.unet.parameters()):
                    tally.fail("lost", f"what is no number was merged: {what}")
        if CONTROL.search(printed):
            tally.fail("escapes", f"control characters printed: {what}")
        if unread and not read:
            tally.fail("not identical", f"info reads it, generate does not: {what}")
        if not baked and not out.exists():
            tally.fail("lost", f"bake says nothing and writes nothing: {what}")
        out.unlink(missing_ok=True)
    merger.clear()
    if not all(p.equal(weights[name]) for name, p in merger.checkpoint.unet.named_parameters()):
        tally.fail("lost", "the base model")
    return tally


CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def _call(verb, *words) -> int:
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    return verb.run(parser.parse_args([str(word) for word in words]))


def _said_by(tally: Tally, what: str, act) -> tuple[str, str]:
    """What the user is told where it cannot be done, and what is printed."""
    said, printed = "", io.StringIO()
    with (
        redirect_stdout(printed),
        redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
        tally.expecting_sentences(what),
    ):
        warnings.simplefilter("ignore")
        try:
            act()
        except UserError as error:
            said = str(error)
        if CONTROL.search(said) or len(said) >= 1000:
            tally.fail("escapes", f"{said} for {what}")
    return said, printed.getvalue()
