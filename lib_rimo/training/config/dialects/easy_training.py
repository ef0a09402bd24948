"""TOML files of LoRA_Easy_Training_Scripts: subsets, and a table of arguments for each page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lib_rimo.errors import UserError
from lib_rimo.messages import Message
from lib_rimo.training.config.dialects.values import as_pairs, is_on, other_family

WHAT = "file of LoRA_Easy_Training_Scripts"
_OF_THE_PROGRAM = {
    *("tag_occurrence", "tag_file_location", "save_toml", "save_toml_location", "easy_name"),
    *("name", "custom_attributes"),
}
_LYCORIS_ONLY = {"algo", "preset", "factor", "dora_wd", "train_norm", "use_tucker"}


def recognises(content: Mapping[str, Any]) -> bool:
    """Tables of arguments inside of the pages' tables."""
    pages = [value for name, value in content.items() if name.endswith("_args")]
    return any(
        isinstance(page, Mapping) and ({"args", "dataset_args"} & page.keys()) for page in pages
    )


def translate(content: Mapping[str, Any], messages: list[Message]) -> dict[str, Any]:
    """kohya's options; the subsets become a dataset_config, written out in place."""
    given: dict[str, Any] = {}
    for name, page in content.items():
        if not isinstance(page, Mapping):
            if name != "subsets":
                given[name] = page
            continue
        if name == "flux_args" and page.get("args"):
            raise other_family(WHAT, "Flux")
        if name == "textual_inversion_args" and page.get("args"):
            raise UserError("This {what} trains a textual inversion, no LoRA.", what=Message(WHAT))
        for part, values in page.items():
            if part in ("args", "dataset_args") and isinstance(values, Mapping):
                given |= values
            else:
                given[part] = values
    for name in _OF_THE_PROGRAM:
        given.pop(name, None)
    for name in ("network_args", "optimizer_args", "lr_scheduler_args"):
        if name in given:
            given[name] = as_pairs(given[name], name)
    names = {text.partition("=")[0] for text in given.get("network_args", [])}
    module = "lycoris.kohya" if names & _LYCORIS_ONLY else "networks.lora"
    if is_on(given.pop("fa", False)):
        module = "networks.lora_fa"
    given.setdefault("network_module", module)
    if "warmup_ratio" in given:
        given["lr_warmup_steps"] = given.pop("warmup_ratio")
    if "batch_size" in given:
        given["train_batch_size"] = given.pop("batch_size")
    # Optimizers and schedules of its own backend are named by their modules.
    if "." in (optimizer := str(given.get("optimizer_type", ""))):
        given["optimizer_type"] = optimizer.rpartition(".")[2]
    subsets = content.get("subsets", [])
    if not isinstance(subsets, list) or not all(isinstance(part, Mapping) for part in subsets):
        raise UserError("subsets: write each folder as a section, [[subsets]].")
    if subsets:
        plain = [
            {name: value for name, value in subset.items() if name not in _OF_THE_PROGRAM}
            for subset in subsets
        ]
        given["dataset_config"] = json.dumps({"datasets": [{"subsets": plain}]})
    return given
