"""TOML files of lora-scripts (SD-Trainer): kohya's names, and some of its page's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lib_rimo.errors import UserError
from lib_rimo.messages import Message
from lib_rimo.training.config.dialects.values import as_pairs, is_blank, is_on, other_family

WHAT = "file of lora-scripts"
_OWN = {
    *("model_train_type", "lr_restart_cycles", "lycoris_algo", "optimizer_args_custom"),
    *("network_args_custom", "enable_preview", "enable_block_weights", "prodigy_d_coef"),
}
_OTHER_TYPES = {"chroma": "Chroma", "flux": "Flux", "sd3": "SD3", "lumina": "Lumina"}
_RENAMED = {
    "lr_restart_cycles": "lr_scheduler_num_cycles",
    "lokr_factor": "factor",
    "dylora_unit": "unit",
    "lycoris_algo": "algo",
}
_NETWORK_ARGUMENTS = (
    *("lycoris_algo", "conv_dim", "conv_alpha", "dropout", "train_norm", "lokr_factor"),
    *("dylora_unit", "down_lr_weight", "mid_lr_weight", "up_lr_weight", "block_lr_zero_threshold"),
)
_BLOCK_ARGUMENTS = ("down_lr_weight", "mid_lr_weight", "up_lr_weight", "block_lr_zero_threshold")
_OF_THE_PROGRAM = {
    *("enable_block_weights", "enable_base_weight", "enable_preview", "randomly_choice_prompt"),
    *("ui_custom_params", "ddp_timeout", "ddp_gradient_as_bucket_view", "gpu_ids", "train_type"),
}


def recognises(content: Mapping[str, Any]) -> bool:
    """Names of its page, in sections or without, or a template with `[metadata]` and `[data]`."""
    names = set(content)
    for value in content.values():
        names |= set(value) if isinstance(value, Mapping) else set()
    is_template = isinstance(content.get("metadata"), Mapping) and "data" in content
    return bool(names & _OWN) or is_template


def translate(content: Mapping[str, Any], messages: list[Message]) -> dict[str, Any]:
    """kohya's options, as its page makes them before it calls kohya's trainer."""
    given: dict[str, Any] = {}
    metadata = content.get("metadata", {})
    for name, value in content.items():
        if name == "metadata" and isinstance(value, Mapping):
            continue
        given |= value if isinstance(value, Mapping) else {name: value}
    kind = str(given.pop("model_train_type", "") or _kind_of_template(metadata))
    for part, family in _OTHER_TYPES.items():
        if part in kind.lower() or part in str(given.get("model_type", "")).lower():
            raise other_family(WHAT, family)
    if kind and "lora" not in kind:
        raise UserError(
            "This {what} is for {kind}, which trains no LoRA.", what=Message(WHAT), kind=kind
        )
    if not is_on(given.get("enable_block_weights", True)):
        for name in _BLOCK_ARGUMENTS:
            given.pop(name, None)
    arguments = as_pairs(given.get("network_args"), "network_args")
    for name in _NETWORK_ARGUMENTS:
        value = given.pop(name, None)
        if not is_blank(value) and value not in (0, False):
            arguments.append(f"{_RENAMED.get(name, name)}={value}")
    arguments += as_pairs(given.pop("network_args_custom", None), "network_args_custom")
    if arguments:
        given["network_args"] = arguments
    of_optimizer = as_pairs(given.get("optimizer_args"), "optimizer_args")
    for name in ("d0", "d_coef"):
        if not is_blank(value := given.pop(f"prodigy_{name}", None)):
            of_optimizer.append(f"{name}={value}")
    of_optimizer += as_pairs(given.pop("optimizer_args_custom", None), "optimizer_args_custom")
    if of_optimizer:
        given["optimizer_args"] = of_optimizer
    _preview(given)
    if "lr_restart_cycles" in given:
        given["lr_scheduler_num_cycles"] = given.pop("lr_restart_cycles")
    return {name: value for name, value in given.items() if name not in _OF_THE_PROGRAM}


def _kind_of_template(metadata: Any) -> str:
    if not isinstance(metadata, Mapping):
        return ""
    return str(metadata.get("train_type", ""))


def _preview(given: dict[str, Any]) -> None:
    """One sample prompt from its fields, with what to draw it with."""
    prompt, file = given.pop("positive_prompts", ""), given.pop("prompt_file", "")
    letters = {
        "n": given.pop("negative_prompts", ""),
        "w": given.pop("sample_width", ""),
        "h": given.pop("sample_height", ""),
        "l": given.pop("sample_cfg", ""),
        "s": given.pop("sample_steps", ""),
        "d": given.pop("sample_seed", ""),
    }
    if "enable_preview" in given and not is_on(given["enable_preview"]):
        given.pop("sample_every_n_epochs", None)
        return
    if file:
        given["sample_prompts"] = file
    elif prompt:
        rest = (f" --{letter} {value}" for letter, value in letters.items() if value != "")
        given["sample_prompts"] = str(prompt) + "".join(rest)
