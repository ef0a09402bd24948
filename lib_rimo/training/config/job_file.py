"""Job files: TOML or JSON with kohya's option names, in sections or without.

kohya's own configuration files are read as they are. What they say that is not supported here is
named in a warning, never silently dropped.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lib_rimo.errors import UserError
from lib_rimo.files import written_beside
from lib_rimo.lora.blocks import LAYOUTS
from lib_rimo.training.config.dataset_config import read_dataset_config
from lib_rimo.training.config.declaration import convert
from lib_rimo.training.config.declared.network import NETWORK_TYPES
from lib_rimo.training.config.documents import read_mapping
from lib_rimo.training.config.options import TrainingOptions

# Options that change nothing here: what they ask for is always so, or has no counterpart.
NEEDLESS = frozenset(
    {
        "cache_latents",
        "highvram",
        "lowram",
        "max_data_loader_n_workers",
        "mem_eff_attn",
        "persistent_data_loader_workers",
        "save_state",
        "save_state_on_train_end",
        "sdpa",
        "sdxl",
        "skip_cache_check",
        "tokenizer_cache_dir",
        "v2",
        "vae_batch_size",  # pictures are encoded one by one, so that none depends on its company
        "xformers",
    }
)
# kohya's names for what is always so here, at the values that ask for just that.
ALWAYS_SO: dict[str, tuple[Any, ...]] = {
    "caption_separator": (",",),
    "dynamo_backend": ("no", "inductor"),  # kohya's default, without effect unless torch_compile
    "huber_c": (0.1,),  # the three count for other losses than l2 only
    "huber_scale": (1.0, 1),
    "huber_schedule": ("snr", "constant", "exponential"),
    "log_with": ("tensorboard",),  # without effect unless logging_dir
    "loss_type": ("l2",),
    "max_timestep": (1000,),
    "sample_sampler": ("ddim",),  # kohya's default; ours is that of the prompt
    "token_warmup_min": (1,),
}

# What kohya's trainer takes where its file says nothing; here the recipe holds.
KOHYA_DEFAULTS = {
    "network_dim": 4,
    "network_alpha": 1,
    "train_batch_size": 1,
    "max_train_steps": 1600,
    "optimizer_type": "AdamW",
    "lr_scheduler": "constant",
}

_ALGORITHMS = {"locon": "lora", "lora": "lora", "loha": "loha", "lokr": "lokr"}


def job_folder(options: TrainingOptions) -> Path:
    """Where a training keeps its options, events, commands and state."""
    return Path(options.output_dir) / f"{options.output_name}.job"


def read_job(path: Path) -> tuple[TrainingOptions, list[str]]:
    """The options of a job file and what to warn of. Raises UserError, naming the file."""
    return from_mapping(read_mapping(path))


def write_job(path: Path, options: TrainingOptions) -> None:
    """Write a job file (JSON, which needs no library to read) with every option."""
    content = json.dumps(dataclasses.asdict(options), indent=1, ensure_ascii=False)
    with written_beside(path) as beside:
        beside.write_text(content, encoding="utf-8")


def from_mapping(content: Mapping[str, Any]) -> tuple[TrainingOptions, list[str]]:
    """Options from names and values, and a warning for each that could not be taken."""
    warnings: list[str] = []
    given: dict[str, Any] = {}
    flat = flatten(content)
    if path := flat.get("dataset_config"):
        config = read_dataset_config(Path(str(path)))
        given, warnings = dict(config.options), list(config.warnings)
        warnings += _overruled(flat, config.options, Path(str(path)).name)
    given = flat | given
    for name in [name for name in given if name in _TRANSLATIONS]:
        _TRANSLATIONS[name](given, given.pop(name), warnings)
    if "learning_rate" in given:  # in kohya's files it stands for both where they are missing
        given.setdefault("unet_lr", None)
        given.setdefault("text_encoder_lr", None)
    declared = {field.name for field in dataclasses.fields(TrainingOptions)}
    values = {}
    for name, value in given.items():
        if name in declared:
            values[name] = value
        elif name not in NEEDLESS and value not in (
            None,
            False,
            "",
            0,
            [],
            *ALWAYS_SO.get(name, ()),
        ):
            warnings.append(f"{name} = {value!r} is not supported and was left out.")
    options = TrainingOptions(**values)
    is_kohyas = "network_module" in flat  # which every file for kohya's trainer says
    if is_kohyas and (left_open := _left_open(options, values)):
        warnings.append(f"What the file does not say is as in the recipe: {left_open}.")
    return options, warnings


def _overruled(flat: Mapping[str, Any], config: Mapping[str, Any], where: str) -> list[str]:
    """Say what the dataset's file changes, for there it stands out of sight."""
    same = {declared.name: declared for declared in dataclasses.fields(TrainingOptions)}
    changed = [
        f"{name} {config[name]} (instead of {flat[name]})"
        for name in sorted(flat.keys() & config.keys() & same.keys())
        if convert(same[name], flat[name]) != convert(same[name], config[name])
    ]
    return [f"{where} says otherwise, and counts: {', '.join(changed)}."] if changed else []


def _left_open(options: TrainingOptions, values: Mapping[str, Any]) -> str:
    names = KOHYA_DEFAULTS.keys() - values.keys()
    if options.max_train_epochs:
        names -= {"max_train_steps"}
    return ", ".join(
        f"{name} {_short(getattr(options, name))} (kohya's trainer: {theirs})"
        for name, theirs in KOHYA_DEFAULTS.items()
        if name in names
    )


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def flatten(content: Mapping[str, Any]) -> dict[str, Any]:
    """kohya's sections are for reading only: their names mean nothing."""
    flat: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            flat |= flatten(value)
        else:
            flat[name] = value
    return flat


Given = dict[str, Any]
Translate = Callable[[Given, Any, list[str]], None]


def _network_module(given: Given, value: Any, warnings: list[str]) -> None:
    known = {
        "networks.lora": "lora",
        "networks.loha": "loha",
        "networks.lokr": "lokr",
        "lycoris.kohya": "lora",  # until its network_args name an algorithm
    }
    if str(value) in known:
        given.setdefault("network_type", known[str(value)])
    elif value:
        warnings.append(f"network_module = {value!r} is not supported; a plain LoRA is trained.")


def _network_args(given: Given, value: Any, warnings: list[str]) -> None:
    texts = value.split() if isinstance(value, str) else value or []
    if not isinstance(texts, list):
        raise UserError(f"network_args is {value!r}: use a list of name=value.")
    arguments = dict(str(text).partition("=")[::2] for text in texts)
    algorithm = arguments.pop("algo", None)
    if algorithm is not None:
        if algorithm in _ALGORITHMS:
            given["network_type"] = _ALGORITHMS[algorithm]
        else:
            warnings.append(
                f"algo={algorithm} is not supported (only {', '.join(NETWORK_TYPES)}); "
                "a plain LoRA is trained."
            )
    if arguments.pop("dora_wd", "False") in ("True", "true", "1"):
        given["network_type"] = "dora"
    for ours, theirs in (("block_dims", "block_dims"), ("block_alphas", "block_alphas")):
        if theirs in arguments:
            given[ours] = _with_base(arguments.pop(theirs), given)
    factors = [arguments.pop(f"{side}_lr_weight", "") for side in ("down", "mid", "up")]
    if any(factors):
        _block_rates(given, factors, warnings)
    for name in ("conv_dim", "conv_alpha"):
        if name in arguments:
            given[name] = arguments.pop(name)
    if "dropout" in arguments:
        given["network_dropout"] = arguments.pop("dropout")
    warnings.extend(
        f"network_args {name}={text} is not supported and was left out."
        for name, text in arguments.items()
    )


def _with_base(vector: str, given: Given) -> str:
    """kohya's vectors name the UNet's blocks only (25 in SD1): put the text encoder in front."""
    if len(vector.split(",")) + 1 in LAYOUTS:
        return f"{given.get('network_dim', TrainingOptions.network_dim)},{vector}"
    return vector


def _block_rates(given: Given, sides: list[str], warnings: list[str]) -> None:
    lengths = (12, 1, 12)
    numbers: list[str] = ["1"]
    for text, length in zip(sides, lengths, strict=True):
        values = text.split(",") if text else ["1"] * length
        if len(values) != length:
            warnings.append(
                f"network_args down/mid/up_lr_weight = {sides} is not supported in this form; "
                "write 12, 1 and 12 numbers, or our block_lr_weight."
            )
            return
        numbers += values
    given["block_lr_weight"] = ",".join(numbers)


def _only(setting: str) -> Translate:
    def translate(given: Given, value: Any, warnings: list[str]) -> None:
        if value in (True, "true"):
            given[setting] = 0

    return translate


def _text_encoder_lr(given: Given, value: Any, warnings: list[str]) -> None:
    values = value if isinstance(value, list) else [value]
    if len(set(map(str, values))) > 1:
        warnings.append(f"text_encoder_lr = {value}: the first is used for all text encoders.")
    given["text_encoder_lr"] = values[0] if values else None


def _optimizer(name: str) -> Translate:
    def translate(given: Given, value: Any, warnings: list[str]) -> None:
        if value:
            given["optimizer_type"] = name

    return translate


def _save_model_as(given: Given, value: Any, warnings: list[str]) -> None:
    if value not in ("safetensors", None, ""):
        warnings.append(f"save_model_as = {value!r} is not supported; .safetensors is written.")


def _save_precision(given: Given, value: Any, warnings: list[str]) -> None:
    if value:
        given["save_precision"] = value


def _clip_skip(given: Given, value: Any, warnings: list[str]) -> None:
    given["clip_skip"] = value or 1


def _renamed(name: str) -> Translate:
    def translate(given: Given, value: Any, warnings: list[str]) -> None:
        if value:
            given[name] = value

    return translate


_TRANSLATIONS: dict[str, Translate] = {
    "network_module": _network_module,
    "network_args": _network_args,
    "network_train_unet_only": _only("text_encoder_lr"),
    "network_train_text_encoder_only": _only("unet_lr"),
    "text_encoder_lr": _text_encoder_lr,
    "use_8bit_adam": _optimizer("AdamW8bit"),
    "use_lion_optimizer": _optimizer("Lion"),
    "save_model_as": _save_model_as,
    "save_precision": _save_precision,
    "clip_skip": _clip_skip,
    "caption_extention": _renamed("caption_extension"),  # kohya keeps its old misspelling
    "alpha_mask": _renamed("masked_loss"),
}
