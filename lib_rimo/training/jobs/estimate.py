"""Time and memory of a training before it starts.

The work is counted from the base model's own shapes: multiplications of every layer at its
resolution, forward and backward. How fast this machine does them is taken from its last trainings;
before the first one it is a guess by its kind, and said to be one. Memory is counted as weights,
what the LoRA and its optimizer keep, and what a backward pass keeps of the forward one.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from lib_rimo.errors import UserError
from lib_rimo.files import written_beside
from lib_rimo.messages import Message, join
from lib_rimo.sd.family import NATIVE_SIDE, UNET_PREFIX, VAE_PREFIX, detect_family, modern_key
from lib_rimo.sd.file_header import read_header
from lib_rimo.sd.size import LATENT_PIXELS, Size, parse_resolution
from lib_rimo.text import parse_json
from lib_rimo.training.config.options import MOST_DIM, TrainingOptions
from lib_rimo.training.data.folders import find_folders
from lib_rimo.training.data.pictures import find_pictures
from lib_rimo.training.jobs.machine import Machine, this_machine
from lib_rimo.training.jobs.memory import SAVINGS, SMALLER
from lib_rimo.training.network.large_maps import MANY_POSITIONS
from lib_rimo.training.validation import find_contradictions

TOKENS = 77
# Values that a backward pass keeps for each value that a layer gives out: queries, keys, values,
# what goes into a norm, a gate (but over a large map) or a LoRA. 1.21 in SD1.5 at 448x704, by the
# heap's own count.
KEPT_PER_OUTPUT = 1.25
# The same with gradient checkpointing, with the inside of one block at a time, for all outputs.
# SD1.5: 0.68 by the peak at 448x704; SDXL: by what is held on the meta device, at 768 and 1024.
KEPT_WITH_CHECKPOINTING = {False: 0.68, True: 0.166}  # by whether it is an SDXL model
# SDXL, where what goes into each block waits in main memory: skips and the inside of one block.
KEPT_WITH_OFFLOADING = 0.09
# Values for each pixel while the autoencoder encodes a picture: five of its widest maps, 128 values
# each, by what is held on the meta device.
KEPT_ENCODING = 5 * 128
# The forward work that gradient checkpointing does again: SD1.5's 0.16 at 256x256, 0.24 at 512x512,
# 0.26 at 448x704, counted with PyTorch's FlopCounterMode.
RECOMPUTED = {False: 0.25, True: 1.0}
# Pieces of many sizes leave gaps in the C library's heap, and the backward pass works in some more.
# With this the peak of SD1.5 is met within 2 % in bf16 and 7 % in fp32, at 256x256 and 448x704.
HEAP_GAPS = 1.5
# Seconds of a step that no faster device spares: thousands of small operations are started. An
# Nvidia GPU replays a recording of them.
STEP_OVERHEAD = {"cpu": 0.15, "mps": 0.15, "cuda": 0.015}
GPU_OVERHEAD = 0.7e9  # bytes that CUDA's context and libraries take
CPU_OVERHEAD = 0.6e9  # bytes of Python with the libraries
STATES = {"lion": 1, "adamw": 2, "prodigy": 4, "adafactor": 1, "sgd": 1}  # values a parameter


@dataclass(frozen=True)
class Model:
    """A base model as far as an estimate needs it."""

    unet_parameters: int
    text_parameters: int
    vae_parameters: int
    block_parameters: int
    """Of the UNet's weights those in its blocks, which can be stored in 8 bits."""
    transformer_blocks: tuple[int, ...]
    """Weights of each transformer block, the largest first."""
    unet_work: float
    """Multiply-adds of one forward pass for one picture."""
    text_work: float
    encoder_work: float
    """Multiply-adds of encoding one picture, which is done once."""
    unet_outputs: float
    """Values that all layers give out in one forward pass for one picture."""
    gate_outputs: float
    """Those of them that are not kept, for they go into gates over large maps."""
    lora_width: float
    """Sum of inputs and outputs of all layers that get a LoRA: parameters per rank."""
    pixels: int
    """Of one picture at this resolution."""
    native: int
    """Side in pixels of the pictures the model was made for."""
    is_sdxl: bool


@dataclass(frozen=True)
class Estimate:
    """What a training is expected to take."""

    seconds: float
    memory: float
    """Bytes at the peak."""
    available: float
    """Bytes that the machine has for it."""
    device: str
    fits: bool
    messages: tuple[Message, ...]
    """The above in sentences, and where it cannot fit what to change."""

    @property
    def text(self) -> str:
        """The messages in English."""
        return join(self.messages)


def estimate(options: TrainingOptions, folder: Path) -> Estimate:
    """Estimate a training by the speeds that `folder` remembers.

    Raises UserError where the base model cannot be read.
    """
    machine = this_machine(options.device)
    model = read_model(Path(options.pretrained_model_name_or_path), options.resolution)
    speed = read_speeds(folder).get(_key(machine, options))
    steps, pictures = amount(options)
    work = steps * work_of_step(model, options) + pictures * model.encoder_work
    seconds = 2 * work / (speed or machine.guessed_speed)
    seconds += steps * STEP_OVERHEAD[machine.kind]
    need = memory_of(model, options, machine)
    fits = need <= machine.memory
    messages = [
        Message(
            "About {time}, {memory} of memory on {device}, which has {available} for it."
            if speed
            else "Very roughly {time}, {memory} of memory on {device}, which has {available} for "
            "it. This machine's speed is not known yet: a first training of this size tells it.",
            level="note",
            time=_duration(seconds),
            memory=_size(need),
            device=machine.name,
            available=_size(machine.memory),
        )
    ]
    if not fits:
        messages.append(_advice(model, options, machine))
    return Estimate(seconds, need, machine.memory, machine.name.text(), fits, tuple(messages))


def find_shortage(options: TrainingOptions) -> Message | None:
    """What to change so that a training fits into memory; None where it fits, or none can tell."""
    machine = this_machine(options.device)
    try:
        path = Path(options.pretrained_model_name_or_path)
        model = read_model(path, options.resolution)
        fits = memory_of(model, options, machine) <= machine.memory
        return None if fits else _advice(model, options, machine)
    except UserError:  # told where the training is refused
        return None


def amount(options: TrainingOptions) -> tuple[int, int]:
    """The optimizer steps, asked for as they are or as epochs, and the pictures to encode."""
    try:
        folders = find_folders(Path(options.train_data_dir))
    except UserError:  # told where the pictures are chosen
        return options.max_train_steps, 0
    counts = [(folder.repeats, len(find_pictures(folder.path))) for folder in folders]
    pictures = sum(count for _, count in counts) * (1 + options.flip_aug)
    if not options.max_train_epochs:
        return options.max_train_steps, pictures
    seen = sum(repeats * count for repeats, count in counts)
    at_once = options.train_batch_size * options.gradient_accumulation_steps
    return options.max_train_epochs * max(1, -(-seen // at_once)), pictures


def work_of_step(model: Model, options: TrainingOptions) -> float:
    """Multiply-adds of one optimizer step: forward, and backward through frozen layers."""
    passes = 2.0
    if options.gradient_checkpointing:
        passes += RECOMPUTED[model.is_sdxl]
    passes += options.prior_passes  # forward only, and through before anything is kept
    text = model.text_work * (2.0 if options.text_encoder_learning_rate else 0.0)
    pictures = options.train_batch_size * options.gradient_accumulation_steps
    return pictures * (model.unet_work * passes + text)


def memory_of(model: Model, options: TrainingOptions, machine: Machine) -> float:
    """Bytes at the peak of a training."""
    size = 4 if _is_full_precision(options, machine) else 2
    weights = float(_unet_bytes(model, options, machine, size))
    text = model.text_parameters * size
    reads_ahead = options.cache_text_encoder_outputs and machine.kind == "cuda"
    weights += 0 if reads_ahead else text
    if machine.kind == "cpu" or options.sample_every_n_steps or options.sample_every_n_epochs:
        weights += model.vae_parameters * size
    kept = (model.unet_outputs - model.gate_outputs) * KEPT_PER_OUTPUT
    if options.gradient_checkpointing:
        kept = model.unet_outputs * KEPT_WITH_CHECKPOINTING[model.is_sdxl]
        if options.cpu_offload_checkpointing and model.is_sdxl and machine.kind == "cuda":
            kept = model.unet_outputs * KEPT_WITH_OFFLOADING
    activations = kept * options.train_batch_size * size
    if machine.kind == "cpu":
        activations *= HEAP_GAPS
    states = STATES.get(options.optimizer_type.lower().removesuffix("8bit"), 2)
    lora = model.lora_width * min(options.network_dim, MOST_DIM) * 4 * (2 + states)
    overhead = CPU_OVERHEAD if machine.kind == "cpu" else GPU_OVERHEAD
    training = weights + activations + lora
    if machine.kind == "cuda":  # before the first step: pictures are encoded, captions read
        is_wide = size == 4 or options.no_half_vae or options.mixed_precision == "fp16"
        vae_size = 4 if is_wide else 2
        encoding = model.vae_parameters * vae_size + KEPT_ENCODING * model.pixels * vae_size
        # Captions that are not known before have the text encoders come back.
        comes_back = reads_ahead and (
            options.shuffle_caption
            or options.caption_tag_dropout_rate
            or options.enable_wildcard
            or options.sample_every_n_steps
            or options.sample_every_n_epochs
        )
        later = text if comes_back else 0
        training = max(training, text, weights + lora + max(encoding, later))
    return training + overhead


def _unet_bytes(model: Model, options: TrainingOptions, machine: Machine, size: int) -> int:
    """What the UNet's weights take of the device's memory."""
    of_blocks = 1 if options.fp8_base else size
    total = (model.unet_parameters - model.block_parameters) * size
    total += model.block_parameters * of_blocks
    swapped = model.transformer_blocks[: options.blocks_to_swap]
    if not swapped or machine.kind != "cuda":
        return total
    # The running one and the next one are there.
    return total - (sum(swapped) - 2 * swapped[0]) * of_blocks


def learn_speed(options: TrainingOptions, seconds_a_step: float, folder: Path) -> None:
    """Remember how fast this machine was in a training that has run."""
    model = read_model(Path(options.pretrained_model_name_or_path), options.resolution)
    speeds = read_speeds(folder)
    machine = this_machine(options.device)
    overhead = STEP_OVERHEAD[machine.kind]
    calculating = seconds_a_step - overhead
    if calculating < overhead:
        return  # too small a model to tell
    work = 2 * work_of_step(model, options)
    speeds[_key(machine, options)] = work / calculating
    with written_beside(folder / "speeds.json") as beside:
        beside.write_text(json.dumps(speeds, indent=1), encoding="utf-8")


MOST_SPEED = 1e18
"""Operations a second; what is beyond any machine is a damaged file."""


def read_speeds(folder: Path) -> dict[str, float]:
    """Operations a second by machine and precision, as far as they were measured."""
    try:
        content = parse_json((folder / "speeds.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    speeds = content if isinstance(content, dict) else {}
    return {
        key: float(speed)
        for key, speed in speeds.items()
        if type(speed) in (int, float) and 0 < speed < MOST_SPEED
    }


def _key(machine: Machine, options: TrainingOptions) -> str:
    precision = "full" if _is_full_precision(options, machine) else "half"
    return f"{machine.name.text()}, {precision} precision"


def _is_full_precision(options: TrainingOptions, machine: Machine) -> bool:
    if options.mixed_precision == "auto":
        return machine.kind == "cpu"
    return options.mixed_precision == "no"


def _advice(model: Model, options: TrainingOptions, machine: Machine) -> Message:
    """The cheapest changes that make it fit."""
    path = Path(options.pretrained_model_name_or_path)
    width, height = _size_in_pixels(options.resolution, model.native)
    smaller = str(max(64, int(math.sqrt(width * height)) * 3 // 4 // 64 * 64))

    def need_with(changes: dict[str, Any]) -> float:
        changed = replace(options, **changes)
        return memory_of(read_model(path, changed.resolution), changed, machine)

    changes: dict[str, Any] = {}
    need = need_with(changes)
    for saving in (*SAVINGS, replace(SMALLER, values=lambda _: [smaller])):
        so_far = replace(options, **changes)
        for value in saving.values(so_far) if saving.is_possible(so_far) else ():
            less = need_with({**changes, saving.option: value})
            if less < need and need > machine.memory:
                changes[saving.option], need = value, less
    if need > machine.memory:
        return Message(
            "It cannot fit on {device}, which has {available} for it: even with {changes} it takes "
            "{memory}.",
            level="warning",
            device=machine.name,
            available=_size(machine.memory),
            changes=_said(changes),
            memory=_size(need),
        )
    for name in reversed(list(changes)):  # what a dearer change has made needless
        fewer = {other: value for other, value in changes.items() if other != name}
        if not find_contradictions(replace(options, **fewer)) and (
            (less := need_with(fewer)) <= machine.memory
        ):
            changes, need = fewer, less
    return Message(
        "It cannot fit as it is. With {changes} it takes {memory}.",
        level="warning",
        changes=_said(changes),
        memory=_size(need),
    )


def _said(changes: dict[str, Any]) -> list[str]:
    return [f"{name} {str(value).lower()}" for name, value in changes.items()]


def _size_in_pixels(resolution: str, native: int) -> Size:
    return parse_resolution(resolution) if resolution else (native, native)


def read_model(path: Path, resolution: str = "") -> Model:
    """What an estimate needs of a model file, at a resolution. Raises UserError."""
    try:
        shapes = _read_shapes(path, path.stat().st_mtime_ns)
    except OSError:
        raise UserError(
            "There is no base model {file}: choose another.", file=path, about=_BASE
        ) from None
    except ValueError:
        raise UserError(
            "{file} is not a .safetensors model: choose another.", file=path.name, about=_BASE
        ) from None
    family = detect_family(shapes, path.name)
    unet = {key: shape for key, shape in shapes.items() if key.startswith(UNET_PREFIX)}
    native = NATIVE_SIDE[family]
    width, height = _size_in_pixels(resolution, native)
    cells = width * height / LATENT_PIXELS**2
    halvings = 2 if family == "sdxl" else 3
    work = outputs = gates = wide = 0.0
    in_blocks, transformers = 0, dict[str, int]()
    for key, shape in unet.items():
        if len(shape) < 2 or not key.endswith(".weight"):
            continue
        positions = _positions(key, cells, halvings)
        weights = math.prod(shape)
        work += weights * positions
        in_blocks += weights if _IN_BLOCKS.search(key) else 0
        if match := _TRANSFORMER.match(key):
            transformers[match[0]] = transformers.get(match[0], 0) + weights
        outputs += shape[0] * positions
        if "ff.net.0.proj" in key and positions > MANY_POSITIONS:
            gates += shape[0] * positions
        if ".transformer_blocks." in key or "proj_in" in key or "proj_out" in key:
            wide += shape[0] + shape[1]
        if "attn1.to_q" in key:
            work += 2 * positions * positions * shape[0]
    text = {key: shape for key, shape in shapes.items() if _is_text(key)}
    vae = {key: shape for key, shape in shapes.items() if key.startswith(VAE_PREFIX)}
    return Model(
        unet_parameters=sum(map(math.prod, unet.values())),
        text_parameters=sum(map(math.prod, text.values())),
        vae_parameters=sum(map(math.prod, vae.values())),
        block_parameters=in_blocks,
        transformer_blocks=tuple(sorted(transformers.values(), reverse=True)),
        unet_work=work,
        text_work=float(
            sum(TOKENS * math.prod(s) for k, s in text.items() if len(s) == 2 and "embed" not in k)
        ),
        encoder_work=sum(
            math.prod(shape) * width * height / 4 ** min(3, _vae_level(key))
            for key, shape in vae.items()
            if ".encoder." in key and len(shape) == 4
        ),
        unet_outputs=outputs,
        gate_outputs=gates,
        lora_width=wide,
        pixels=width * height,
        native=native,
        is_sdxl=family == "sdxl",
    )


_IN_BLOCKS = re.compile(r"\.(input_blocks\.(?!0\.)|middle_block\.|output_blocks\.)")
_TRANSFORMER = re.compile(r".*\.transformer_blocks\.\d+\.")
_BASE = "pretrained_model_name_or_path"


@lru_cache(maxsize=8)
def _read_shapes(path: Path, _time: int) -> dict[str, tuple[int, ...]]:
    """The shapes of all tensors of a `.safetensors` file; ValueError for any other file."""
    return {modern_key(key): shape for key, shape in read_header(path).shapes.items()}


def _positions(key: str, cells: float, halvings: int) -> float:
    """At how many places a UNet layer works, for one picture."""
    if "attn2.to_k" in key or "attn2.to_v" in key:
        return TOKENS
    if "emb" in key:
        return 1
    match = re.search(r"(input|output)_blocks\.(\d+)\.", key)
    if match is None:
        return cells / 4**halvings if "middle_block" in key else cells
    level = int(match[2]) // 3
    if match[1] == "output":
        level = halvings - level
    return float(cells / 4**level)


def _vae_level(key: str) -> int:
    match = re.search(r"encoder\.down\.(\d)", key)
    return int(match[1]) if match else (0 if "conv_in" in key else 3)


def _is_text(key: str) -> bool:
    return key.startswith(("cond_stage_model.", "conditioner.")) and key.endswith(".weight")


def _duration(seconds: float) -> Message:
    if seconds < 90:
        return Message("{n} seconds", n=max(5, round(seconds)))
    if seconds < 90 * 60:
        return Message("{n} minutes", n=round(seconds / 60))
    return Message("{n} hours", n=f"{seconds / 3600:.1f}")


def _size(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
