"""`network_module` and `network_args` of kohya's trainer and of LyCORIS, as our own options."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lib_rimo.errors import UserError
from lib_rimo.lora.blocks import UNET_LAYOUTS
from lib_rimo.messages import Message
from lib_rimo.training.config.declared.network import ACTS_IN, NETWORK_TYPES
from lib_rimo.training.config.dialects.values import as_pairs, is_on, number, other_family, warning
from lib_rimo.training.config.options import TrainingOptions, declared_options

MODULES = {
    "networks.lora": "lora",
    "networks.lora_fa": "lora",
    "networks.dylora": "lora",
    "networks.loha": "loha",
    "networks.lokr": "lokr",
    "lycoris.kohya": "lora",  # until its network_args name an algorithm
}
ALGORITHMS = {
    "locon": "lora",
    "dylora": "lora",  # whose ranks are drawn by no seed of the training's
    **{name: name for name in NETWORK_TYPES if name != "dora"},
}
# What LyCORIS computes differently to the same end, or does not read at all.
_WITHOUT_EFFECT = {"bypass_mode", "train_on_input", "block_size", "unit", "wd_on_output"}
_OTHER_FAMILIES = {
    "flux": "Flux",
    "sd3": "SD3",
    "lumina": "Lumina",
    "anima": "Anima",
    "hunyuan": "HunyuanImage",
}
# LyCORIS' presets that train 3x3 convolutions, with a rank of their own or not.
WITH_CONVOLUTIONS = ("full", "unet-only", "unet-convblock-only")
_RENAMED = {
    "dropout": "network_dropout",
    "use_cp": "use_tucker",
    # T-LoRA as trainers that have it call it, with use_timestep_mask
    "min_rank": "tlora_min_rank",
    "alpha_rank_scale": "tlora_alpha_rank_scale",
}
_SD1_BLOCKS, _SDXL_BLOCKS = (12, 1, 12), (9, 3, 9)  # kohya's down, mid, up
_SDXL_VECTOR = 1 + sum(_SDXL_BLOCKS) + 1  # embeddings and output, which no LoRA has, around them


def take_network(given: dict[str, Any], messages: list[Message]) -> None:
    """Replace the two in `given` by our options, and say what cannot be taken.

    Raises UserError for networks that are something else than what can be trained here.
    """
    module = given.pop("network_module", None)
    arguments = _arguments(given.pop("network_args", None))
    if module:
        _take_module(given, str(module), messages)
    is_lycoris = module == "lycoris.kohya"
    algorithm = arguments.pop("algo", None)
    if algorithm is not None:
        if algorithm not in ALGORITHMS:
            raise UserError(
                "algo={algorithm} is not supported: use one of {list}, which is network_type here.",
                algorithm=algorithm,
                list=list(ALGORITHMS),
            )
        if algorithm == "dylora":
            messages.append(_as_plain_lora("algo=dylora"))
        given["network_type"] = ALGORITHMS[algorithm]
    if is_on(arguments.get("dora_wd", False)) and given.get("network_type", "lora") == "lora":
        given["network_type"] = "dora"
        del arguments["dora_wd"]
    preset = arguments.pop("preset", "full")
    if is_lycoris:
        _take_preset(given, preset, arguments, messages)
    for name in ("block_dims", "block_alphas"):
        if text := arguments.pop(name, ""):
            base = "network_dim" if name == "block_dims" else "network_alpha"
            given[name] = our_vector(
                text, given.get(base, getattr(TrainingOptions, base)), messages
            )
    sides = [arguments.pop(f"{side}_lr_weight", "") for side in ("down", "mid", "up")]
    threshold = number(arguments.pop("block_lr_zero_threshold", 0))
    if any(sides):
        given["block_lr_weight"] = block_rates(sides, threshold, messages)
    if not is_on(arguments.pop("use_timestep_mask", False)):
        arguments.pop("min_rank", None), arguments.pop("alpha_rank_scale", None)
    elif "min_rank" not in arguments:
        arguments["min_rank"] = "1"
    for name, text in arguments.items():
        ours = _RENAMED.get(name, name)
        if text in ("", "None"):
            continue
        if name in _WITHOUT_EFFECT:
            continue
        types = ACTS_IN.get(ours, NETWORK_TYPES)
        if given.get("network_type", "lora") not in types:
            if _asks(text):
                sentence = "{name} is left out: it is for {types}."
                messages.append(warning(sentence, name=name, types=list(types)))
        elif ours in declared_options():
            given[ours] = text
        elif _asks(text):
            sentence = "network_args {name}={value} is not supported and was left out."
            messages.append(warning(sentence, name=name, value=text))
    if module:
        for name, types in ACTS_IN.items():
            is_asked = name in given and _asks(str(given[name]))
            if is_asked and given.get("network_type", "lora") not in types:
                del given[name]
                sentence = "{name} is left out: it is for {types}."
                messages.append(warning(sentence, name=name, types=list(types)))


def _asks(text: str) -> bool:
    return text not in ("", "0", "0.0", "False", "false", "None")


def _as_plain_lora(what: str) -> Message:
    return warning(
        "{what} is not supported: a plain LoRA is trained, which is a file of the same form.",
        what=what,
    )


def _arguments(value: Any) -> dict[str, str]:
    pairs = (text.partition("=") for text in as_pairs(value, "network_args"))
    return {name.strip(): text.strip().strip("\"'") for name, _, text in pairs if name.strip()}


def _take_module(given: dict[str, Any], module: str, messages: list[Message]) -> None:
    for part, family in _OTHER_FAMILIES.items():
        if part in module:
            raise other_family("configuration", family)
    if module not in MODULES:
        raise UserError(
            "network_module {module} is not supported: use one of {list}.",
            module=module,
            list=list(MODULES),
        )
    if module in ("networks.lora_fa", "networks.dylora"):
        messages.append(_as_plain_lora(f"network_module {module}"))
    given.setdefault("network_type", MODULES[module])


def _take_preset(
    given: dict[str, Any], preset: str, arguments: dict[str, str], messages: list[Message]
) -> None:
    """LyCORIS trains what its preset names; convolutions have the dim of the rest by default."""
    if given.get("network_type") == "ia3":
        arguments.pop("conv_dim", None), arguments.pop("conv_alpha", None)
        if preset != "ia3":
            messages.append(
                warning(
                    "Of IA3 to_k, to_v and the second feed-forward layers are trained, as by "
                    "LyCORIS' preset ia3 and not {preset}.",
                    preset=preset,
                )
            )
        return
    if preset not in WITH_CONVOLUTIONS:
        arguments.pop("conv_dim", None), arguments.pop("conv_alpha", None)
    else:
        for name, base in (("conv_dim", "network_dim"), ("conv_alpha", "network_alpha")):
            if not number(arguments.get(name)):
                arguments.pop(name, None)
                given[name] = given.get(base, getattr(TrainingOptions, base))
    if preset in ("full", "unet-only"):
        messages.append(
            warning(
                "LyCORIS' preset {preset} also trains conv_in, conv_out and the time embedding, "
                "which are left alone here.",
                preset=preset,
            )
        )
    if preset in ("unet-only", "unet-transformer-only", "unet-convblock-only"):
        given["text_encoder_lr"] = 0
    elif preset not in ("full", "attn-mlp"):
        messages.append(
            warning(
                "LyCORIS' preset {preset} is not supported: attention and feed-forward layers are "
                "trained, as by attn-mlp.",
                preset=preset,
            )
        )
    if preset == "unet-convblock-only":
        messages.append(
            warning(
                "LyCORIS' preset unet-convblock-only is not supported: attention layers are "
                "trained too."
            )
        )


def our_vector(text: str, base: Any, messages: list[Message]) -> str:
    """kohya's vector of the UNet's blocks (25 in SD1, 23 in SDXL), the text encoder in front.

    Ours, of 12, 17, 20 or 26 numbers, stays as it is. `base` is the text encoder's value.
    """
    values = [part.strip() for part in text.split(",")]
    if len(values) == _SDXL_VECTOR:
        downs, mids, ups = values[1:10], values[10:13], values[13:22]
        if len(set(mids)) > 1:
            messages.append(
                warning(
                    "Of the middle block's three values {values} that of its attention, {used}, "
                    "is used for all.",
                    values=",".join(mids),
                    used=mids[1],
                )
            )
        values = [*downs, mids[1], *ups]
    if len(values) + 1 in UNET_LAYOUTS:
        return ",".join(map(str, [base, *values]))
    return text


def block_rates(sides: list[str], threshold: float, messages: list[Message]) -> str:
    """kohya's down, mid and up factors on the learning rate as one vector, 1 for the text encoder.

    Each side is numbers with commas, or a curve by its name, as `cosine+.25`; missing numbers are
    1, those up to the threshold 0.
    """
    is_sdxl = len(sides[1].split(",")) == 3 or any(
        len(side.split(",")) == _SDXL_BLOCKS[0] for side in (sides[0], sides[2])
    )
    vector: list[float] = []
    for text, length in zip(sides, _SDXL_BLOCKS if is_sdxl else _SD1_BLOCKS, strict=True):
        values = [value if value > threshold else 0.0 for value in _side(text, length)]
        vector += [*values, *[1.0] * length][:length] if text else [1.0] * length
    if is_sdxl:
        vector = [0.0, *vector, 0.0]
    return our_vector(",".join(f"{value:g}" for value in vector), 1, messages)


def _side(text: str, length: int) -> list[float]:
    if not text:
        return []
    name, _, base = text.partition("+")
    steps = [index / max(1, length - 1) for index in range(length)]
    curves: Mapping[str, list[float]] = {
        "sine": [math.sin(math.pi * step / 2) for step in steps],
        "cosine": [math.sin(math.pi * step / 2) for step in reversed(steps)],
        "linear": steps,
        "reverse_linear": [*reversed(steps)],
        "zeros": [0.0] * length,
    }
    try:
        if name.strip() in curves:
            return [value + float(base or 0) for value in curves[name.strip()]]
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UserError(
            "network_args has the block factors {text}: write numbers with commas between, or "
            "one of {list}.",
            text=repr(text),
            list=list(curves),
        ) from None
