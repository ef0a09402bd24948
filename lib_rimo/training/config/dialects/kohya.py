"""The options of kohya's trainer as our own: what is named or written otherwise, or not at all."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from lib_rimo.errors import UserError
from lib_rimo.messages import Message
from lib_rimo.training.config.declaration import option_type
from lib_rimo.training.config.dialects.network_args import take_network
from lib_rimo.training.config.dialects.values import (
    is_blank,
    is_on,
    not_supported,
    number,
    other_family,
    warning,
)
from lib_rimo.training.config.options import TrainingOptions, declared_options

# What kohya's trainer takes where its file says nothing; here the recipe holds.
DEFAULTS = {
    "network_dim": 4,
    "network_alpha": 1,
    "train_batch_size": 1,
    "max_train_steps": 1600,
    "optimizer_type": "AdamW",
    "lr_scheduler": "constant",
    "unet_lr": 2e-6,
    "text_encoder_lr": 2e-6,
    "enable_bucket": False,
}

# Options that change nothing here: what they ask for is always so, or has no counterpart.
NEEDLESS = frozenset(
    {
        "cache_info",
        "cache_latents",
        "ddp_gradient_as_bucket_view",
        "ddp_static_graph",
        "ddp_timeout",
        "dynamo_backend",
        "highvram",
        "log_tracker_name",
        "log_with",
        "lowram",
        "max_data_loader_n_workers",
        "max_validation_steps",
        "mem_eff_attn",
        "no_token_padding",
        "persistent_data_loader_workers",
        "save_last_n_epochs_state",
        "save_last_n_steps_state",
        "save_state",
        "save_state_on_train_end",
        "sdpa",
        "sdxl",
        "skip_cache_check",
        "support_controlnet",
        "support_dreambooth",
        "support_dropout",
        "support_finetuning",
        "text_encoder_batch_size",
        "tokenizer_cache_dir",
        "use_safetensors",
        "v2",
        "vae_batch_size",  # pictures are encoded one by one, so that none depends on its company
        "validation_seed",
        "wandb_run_name",
        "xformers",
    }
)
# kohya's options without a counterpart, and the values at which they ask for nothing.
UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "async_upload": (),
    "base_weights": (),
    "base_weights_multiplier": (),
    "color_aug": (),
    "custom_attributes": (),
    "dataset_class": (),
    "dataset_repeats": (1,),
    "debug_dataset": (),
    "deepspeed": (),
    "dim_from_weights": (),
    "disable_mmap_load_safetensors": (),
    "face_crop_aug_range": (),
    "fp16_master_weights_and_gradients": (),
    "full_fp16": (),
    "fused_backward_pass": (),
    "in_json": (),
    "initial_epoch": (1,),
    "initial_step": (),
    "log_config": (),
    "log_tracker_config": (),
    "lr_decay_steps": (),
    "lr_scheduler_min_lr_ratio": (),
    "lr_scheduler_timescale": (),
    "metadata_author": (),
    "metadata_description": (),
    "metadata_license": (),
    "metadata_tags": (),
    "metadata_title": (),
    "no_metadata": (),
    "offload_optimizer_device": (),
    "offload_param_device": (),
    "optimizer_schedulefree_wrapper": (),
    "output_config": (),
    "random_crop": (),
    "resize_interpolation": (),
    "resume": (),
    "resume_from_huggingface": (),
    "save_state_to_huggingface": (),
    "schedulefree_wrapper_args": (),
    "skip_until_initial_step": (),
    "token_warmup_min": (1,),
    "token_warmup_step": (),
    "torch_compile": (),
    "train_inpainting": (),
    "validate_every_n_epochs": (),
    "validate_every_n_steps": (),
    "validation_split": (),
    "wandb_api_key": (),
    "weighted_captions": (),
    "zero_stage": (),
}
_OFF: tuple[Any, ...] = (None, False, "", 0, [], "False", "false", "0")
_OTHER_FAMILIES = {"t5xxl": "Flux or SD3", "clip_g": "SD3", "gemma2": "Lumina"}

Given = dict[str, Any]
Translate = Callable[[Given, Any, list[Message]], None]


def as_options(content: Mapping[str, Any], messages: list[Message]) -> Given:
    """Our options from kohya's, and a warning for each that could not be taken.

    Raises UserError where what is asked for is something else than what can be trained here.
    """
    given = {name: value for name, value in content.items() if not _is_left_blank(name, value)}
    if "learning_rate" not in given:
        for name in ("unet_lr", "text_encoder_lr"):
            if given.get(name) == "":
                del given[name]
    for name, family in _OTHER_FAMILIES.items():
        if given.get(name):
            raise other_family("configuration", family)
    if "unet_target_module" in given or "text_encoder_target_module" in given:
        raise UserError("This is a preset of LyCORIS, which says only what layers to train.")
    for name in [name for name in given if name in _TRANSLATIONS]:
        _TRANSLATIONS[name](given, given.pop(name), messages)
    if "network_module" in given or "network_args" in given:
        take_network(given, messages)
    if "learning_rate" in given:  # in kohya's files it stands for both where they are missing
        given.setdefault("unet_lr", None)
        given.setdefault("text_encoder_lr", None)
    values = {name: value for name, value in given.items() if name in declared_options()}
    if content and not content.keys() & (declared_options().keys() | _KNOWN):
        raise UserError(
            "This file says nothing about a training: none of its names is an option of one "
            "({names}).",
            names=sorted(content)[:5],
        )
    for name in sorted(given.keys() - values.keys() - NEEDLESS):
        value = given[name]
        if name in UNSUPPORTED or name.startswith(("huggingface_", "metadata_")):
            if value not in (*_OFF, *UNSUPPORTED.get(name, ())):
                messages.append(not_supported(name, value))
        elif value is not None and value != "":
            near = difflib.get_close_matches(
                name, [*declared_options(), *UNSUPPORTED, *NEEDLESS], 1
            )
            sentence = (
                "{name} = {value} is not known here and was left out (is {near} meant?)."
                if near
                else "{name} = {value} is not known here and was left out."
            )
            messages.append(warning(sentence, name=name, value=repr(value), near=near[:1]))
    return values


def left_open(options: TrainingOptions, values: Mapping[str, Any]) -> list[Message]:
    """What a file for kohya's trainer does not say, ours beside what would hold there."""
    names = DEFAULTS.keys() - values.keys()
    if options.max_train_epochs:
        names -= {"max_train_steps"}
    return [
        Message(
            "{name} {ours} (kohya's trainer: {theirs})",
            name=name,
            ours=_short(getattr(options, name)),
            theirs=_short(theirs),
        )
        for name, theirs in DEFAULTS.items()
        if name in names and getattr(options, name) != theirs
    ]


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _is_left_blank(name: str, value: Any) -> bool:
    """A blank field of what cannot be blank is one that was not given."""
    declared = declared_options().get(name)
    if declared is None or not is_blank(value):
        return False
    kind, may_be_none = option_type(declared)
    return kind is not str and (not may_be_none or (name == "learning_rate" and value is not None))


def _only(setting: str) -> Translate:
    def translate(given: Given, value: Any, messages: list[Message]) -> None:
        if is_on(value):
            given[setting] = 0

    return translate


def _text_encoder_lr(given: Given, value: Any, messages: list[Message]) -> None:
    values = value if isinstance(value, list) else [value]
    if len(set(map(str, values))) > 1:
        sentence = "text_encoder_lr = {value}: the first is used for all text encoders."
        messages.append(warning(sentence, value=str(value), about="text_encoder_lr"))
    if values:
        given["text_encoder_lr"] = values[0]


def _optimizer(name: str) -> Translate:
    def translate(given: Given, value: Any, messages: list[Message]) -> None:
        if is_on(value):
            given["optimizer_type"] = name

    return translate


def _save_model_as(given: Given, value: Any, messages: list[Message]) -> None:
    if value not in ("safetensors", None, ""):
        sentence = "save_model_as = {value} is not supported; .safetensors is written."
        messages.append(warning(sentence, value=repr(value)))


def _or_default(name: str) -> Translate:
    """Blank means our default."""

    def translate(given: Given, value: Any, messages: list[Message]) -> None:
        if not is_blank(value):
            given[name] = value

    return translate


def _clip_skip(given: Given, value: Any, messages: list[Message]) -> None:
    given["clip_skip"] = value or 1


def _renamed(name: str) -> Translate:
    def translate(given: Given, value: Any, messages: list[Message]) -> None:
        if value:
            given[name] = value

    return translate


def _max_token_length(given: Given, value: Any, messages: list[Message]) -> None:
    """kohya's trainer reads captions in parts of 75 tokens, as many as fit."""
    tokens = number(value)
    if is_blank(value) or tokens == 0:
        return
    whole = int(tokens // 75 * 75) or 75
    given["max_token_length"] = value if whole == tokens or tokens <= 0 else whole
    if whole != tokens > 0:
        messages.append(
            warning(
                "max_token_length {value} counts as {whole}: captions are read in parts of 75 "
                "tokens.",
                value=str(value),
                whole=whole,
                about="max_token_length",
            )
        )


def _bucket_reso_steps(given: Given, value: Any, messages: list[Message]) -> None:
    """kohya's trainer takes any, but what the autoencoder encodes is whole cells all the same."""
    steps = number(value)
    whole = max(8, int(steps // 8 * 8))
    given["bucket_reso_steps"] = value
    if steps > 0 and whole != steps:
        given["bucket_reso_steps"] = whole
        messages.append(
            warning(
                "bucket_reso_steps {value} counts as {whole}: pictures are encoded in cells of 8 "
                "pixels.",
                value=str(value),
                whole=whole,
                about="bucket_reso_steps",
            )
        )


def _lr_scheduler(given: Given, value: Any, messages: list[Message]) -> None:
    """AdaFactor's own schedule holds wherever AdaFactor finds the rate itself."""
    if str(value).partition(":")[0] == "adafactor":
        given["lr_scheduler"] = "constant"
    elif not is_blank(value):
        given["lr_scheduler"] = value


def _save_n_epoch_ratio(given: Given, value: Any, messages: list[Message]) -> None:
    """kohya's "save so many files over all epochs": by epochs, where those are known."""
    epochs, files = number(given.get("max_train_epochs")), number(value)
    if files > 0 and epochs > 0:
        given["save_every_n_epochs"] = max(1, int(epochs // files))
    elif files > 0:
        sentence = "save_n_epoch_ratio = {value} needs max_train_epochs, and was left out."
        messages.append(warning(sentence, value=repr(value)))


def _left_to_the_model(name: str) -> Translate:
    """kohya's trainer knows only to ask for it, and front ends write false for a box left alone."""

    def translate(given: Given, value: Any, messages: list[Message]) -> None:
        if is_on(value) or "network_module" not in given:  # which our own files do not say
            given[name] = value

    return translate


def _cache_text_encoder_outputs(given: Given, value: Any, messages: list[Message]) -> None:
    """Where the text encoder is not trained; kohya's trainer refuses it otherwise."""
    if is_on(value):
        rate = given.get("text_encoder_lr", given.get("learning_rate", 1))
        rates = rate if isinstance(rate, list) else [rate]
        unet_only = is_on(given.get("network_train_unet_only", False))
        if unet_only or not any(number(one) for one in rates):
            given["cache_text_encoder_outputs"] = True
        else:
            messages.append(
                warning(
                    "cache_text_encoder_outputs is left out, because the text encoder is trained: "
                    "set text_encoder_lr 0 to leave it alone."
                )
            )


def _blocks_to_swap(given: Given, value: Any, messages: list[Message]) -> None:
    """kohya's trainer knows it for other models, with other blocks; front ends write 0 for off."""
    if number(value) > 0:
        given["blocks_to_swap"] = value


_TRANSLATIONS: dict[str, Translate] = {
    "cache_text_encoder_outputs": _cache_text_encoder_outputs,
    "cache_text_encoder_outputs_to_disk": _cache_text_encoder_outputs,
    "fp8_base_unet": _renamed("fp8_base"),
    "blocks_to_swap": _blocks_to_swap,
    "network_train_unet_only": _only("text_encoder_lr"),
    "network_train_text_encoder_only": _only("unet_lr"),
    "text_encoder_lr": _text_encoder_lr,
    "save_n_epoch_ratio": _save_n_epoch_ratio,
    "use_8bit_adam": _optimizer("AdamW8bit"),
    "use_lion_optimizer": _optimizer("Lion"),
    "save_model_as": _save_model_as,
    "save_precision": _or_default("save_precision"),
    "mixed_precision": _or_default("mixed_precision"),
    "bucket_reso_steps": _bucket_reso_steps,
    "clip_skip": _clip_skip,
    "lr_scheduler": _lr_scheduler,
    "max_token_length": _max_token_length,
    "caption_extention": _renamed("caption_extension"),  # kohya keeps its old misspelling
    "alpha_mask": _renamed("masked_loss"),
    "v_parameterization": _left_to_the_model("v_parameterization"),
    "zero_terminal_snr": _left_to_the_model("zero_terminal_snr"),
}
_KNOWN = {"network_module", "network_args"} | _TRANSLATIONS.keys() | UNSUPPORTED.keys() | NEEDLESS
