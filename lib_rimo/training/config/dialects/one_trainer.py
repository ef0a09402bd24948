"""JSON files of OneTrainer, where its fields mean the same as kohya's options."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from lib_rimo.errors import UserError
from lib_rimo.messages import Message
from lib_rimo.sd.family import TIMESTEPS
from lib_rimo.training.config.dialects.values import (
    is_blank,
    is_on,
    not_supported,
    number,
    other_family,
    warning,
)

WHAT = "file of OneTrainer"
_FAMILIES = ("STABLE_DIFFUSION_15", "STABLE_DIFFUSION_2", "STABLE_DIFFUSION_XL")
_RENAMED = {
    "base_model_name": "pretrained_model_name_or_path",
    "batch_size": "train_batch_size",
    "clip_grad_norm": "max_grad_norm",
    "epochs": "max_train_epochs",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "learning_rate": "learning_rate",
    "learning_rate_cycles": "lr_scheduler_num_cycles",
    "learning_rate_warmup_steps": "lr_warmup_steps",
    "lora_alpha": "network_alpha",
    "lora_rank": "network_dim",
    "masked_prior_preservation_weight": "masked_prior_preservation_weight",
    "masked_training": "masked_training",
    "normalize_masked_area_loss": "normalize_masked_area_loss",
    "unmasked_weight": "unmasked_weight",
    "offset_noise_weight": "noise_offset",
    "resolution": "resolution",
    "seed": "seed",
}
_PRIOR = "PRIOR_PREDICTION"
"""The type of a concept whose pictures teach what the base model predicts of them."""
_SCHEDULES = {
    "CONSTANT": "constant",
    "LINEAR": "linear",
    "COSINE": "cosine",
    "COSINE_WITH_RESTARTS": "cosine_with_restarts",
    "COSINE_WITH_HARD_RESTARTS": "cosine_with_restarts",
}
_PRECISIONS = {"FLOAT_16": "fp16", "BFLOAT_16": "bf16", "FLOAT_32": "no"}
_SAVED = {"FLOAT_16": "fp16", "BFLOAT_16": "bf16", "FLOAT_32": "float"}
_OPTIMIZERS = {
    "ADAMW": "AdamW",
    "ADAMW_8BIT": "AdamW8bit",
    "ADAFACTOR": "AdaFactor",
    "LION": "Lion",
    "LION_8BIT": "Lion8bit",
    "PRODIGY": "Prodigy",
    "DADAPT_ADAM": "DAdaptAdam",
    "DADAPT_LION": "DAdaptLion",
    "SCHEDULE_FREE_ADAMW": "AdamWScheduleFree",
    "SGD": "SGDNesterov",
}
_OPTIMIZER_ARGUMENTS = (
    "weight_decay",
    "d_coef",
    "d0",
    "decouple",
    "use_bias_correction",
    "safeguard_warmup",
    "relative_step",
    "scale_parameter",
    "warmup_init",
)


def recognises(content: Mapping[str, Any]) -> bool:
    """Its names for the method and the model's family."""
    return "training_method" in content and "model_type" in content


def translate(content: Mapping[str, Any], messages: list[Message]) -> dict[str, Any]:
    """kohya's options; of its hundreds of fields those that have a counterpart."""
    family = str(content["model_type"])
    if not family.startswith(_FAMILIES) or "INPAINTING" in family:
        raise other_family(WHAT, family.replace("_", " ").title())
    if content["training_method"] != "LORA":
        raise UserError(
            "This {what} is for {method}: only LORA trains a LoRA.",
            what=Message(WHAT),
            method=str(content["training_method"]),
        )
    given: dict[str, Any] = {}
    for theirs, ours in _RENAMED.items():
        if not is_blank(content.get(theirs)):
            given[ours] = content[theirs]
    kind = str(content.get("peft_type", "LORA"))
    if kind == "LOHA":
        given["network_type"] = "loha"
    elif kind != "LORA":
        raise UserError(
            "This {what} has peft_type {kind}: only LORA and LOHA can be trained here.",
            what=Message(WHAT),
            kind=kind,
        )
    elif is_on(content.get("lora_decompose", False)):
        given["network_type"] = "dora"
    _take(given, "lr_scheduler", content.get("learning_rate_scheduler"), _SCHEDULES, messages)
    _take(given, "mixed_precision", content.get("train_dtype"), _PRECISIONS, messages)
    _take(given, "save_precision", content.get("output_dtype"), _SAVED, messages)
    _optimizer(given, content.get("optimizer"), messages)
    rate = content.get("learning_rate")
    for part, option in (("unet", "unet_lr"), ("text_encoder", "text_encoder_lr")):
        values = content.get(part, {})
        if isinstance(values, Mapping) and "train" in values:
            own = rate if is_blank(values.get("learning_rate")) else values["learning_rate"]
            given[option] = own if is_on(values["train"]) else 0
    if content.get("loss_weight_fn") == "MIN_SNR_GAMMA":
        given["min_snr_gamma"] = content.get("loss_weight_strength", 5)
    for bound in ("min", "max"):
        if not is_blank(share := content.get(f"{bound}_noising_strength")):
            given[f"{bound}_timestep"] = int(number(share) * TIMESTEPS)
    if content.get("gradient_checkpointing") in ("ON", "CPU_OFFLOADED", True):
        given["gradient_checkpointing"] = True
    if not is_blank(destination := content.get("output_model_destination")):
        path = PurePosixPath(str(destination).replace("\\", "/"))
        given["output_dir"], given["output_name"] = str(path.parent), path.stem
    _concepts(given, content, messages)
    messages.append(
        warning(
            "Of OneTrainer's file those fields were taken that mean the same here; what it does "
            "not say is as in the recipe: {names}.",
            names=sorted(given),
        )
    )
    return given


def _take(
    given: dict[str, Any], name: str, value: Any, known: Mapping[str, str], messages: list[Message]
) -> None:
    if value in known:
        given[name] = known[value]
    elif not is_blank(value):
        messages.append(not_supported(name, value))


def _optimizer(given: dict[str, Any], optimizer: Any, messages: list[Message]) -> None:
    if not isinstance(optimizer, Mapping):
        return
    _take(given, "optimizer_type", optimizer.get("optimizer"), _OPTIMIZERS, messages)
    arguments = [
        f"{name}={optimizer[name]}"
        for name in _OPTIMIZER_ARGUMENTS
        if not is_blank(optimizer.get(name))
    ]
    betas = [optimizer.get(name) for name in ("beta1", "beta2")]
    if not any(map(is_blank, betas)) and given.get("optimizer_type") != "AdaFactor":
        arguments.append(f"betas={betas[0]},{betas[1]}")
    given["optimizer_args"] = arguments


def _concepts(given: dict[str, Any], content: Mapping[str, Any], messages: list[Message]) -> None:
    """Its folders as subsets, where they stand in the file itself."""
    concepts = content.get("concepts")
    if not isinstance(concepts, list):
        if not is_blank(name := content.get("concept_file_name")):
            sentence = "The folders of {file} are not read: give --train_data_dir."
            messages.append(warning(sentence, file=str(name), about="train_data_dir"))
        return
    wanted = [
        concept
        for concept in concepts
        if isinstance(concept, Mapping)
        and concept.get("path")
        and concept.get("enabled", True)
        and concept.get("type") != "VALIDATION"
    ]
    subsets = [
        {
            "image_dir": concept["path"],
            "num_repeats": max(1, round(number(_balancing(concept)))),
            **({"is_reg": True} if concept.get("type") == _PRIOR else {}),
        }
        for concept in wanted
    ]
    if any(concept.get("type") == _PRIOR for concept in wanted):
        given["reg_prior_prediction"] = True
    if subsets:
        given["dataset_config"] = json.dumps({"datasets": [{"subsets": subsets}]})


def _balancing(concept: Mapping[str, Any]) -> Any:
    return concept.get("balancing", concept.get("repeating", 1))
