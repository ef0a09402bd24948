"""JSON files of kohya_ss's GUI, as it translates them before it calls kohya's trainer."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from lib_rimo.errors import UserError
from lib_rimo.messages import Message
from lib_rimo.training.config.dialects.values import (
    as_pairs,
    is_blank,
    is_on,
    not_supported,
    number,
    other_family,
    warning,
)

WHAT = "file of kohya_ss's GUI"

_OTHER_FAMILIES = {
    "flux1_checkbox": "Flux",
    "sd3_checkbox": "SD3",
    "hunyuan_image_checkbox": "HunyuanImage",
    "anima_checkbox": "Anima",
    "lumina_checkbox": "Lumina",
}
_OTHER_TYPES = {
    "Flux1": "Flux",
    "Flux1 OFT": "Flux",
    "HunyuanImage-2.1": "HunyuanImage",
    "Anima": "Anima",
    "Lumina": "Lumina",
}
_LYCORIS = {
    "LoCon": "locon",
    "LyCORIS/LoCon": "locon",
    "LyCORIS/LoHa": "loha",
    "LyCORIS/LoKr": "lokr",
    "LyCORIS/iA3": "ia3",
    "LyCORIS/DyLoRA": "dylora",
    "LyCORIS/GLoRA": "glora",
    "LyCORIS/Diag-OFT": "diag-oft",
    "LyCORIS/BOFT": "boft",
    "LyCORIS/Native Fine-Tuning": "full",
}
_MODULES = {
    "Standard": "networks.lora",
    "Kohya LoCon": "networks.lora",
    "LoRA-FA": "networks.lora_fa",
    "Kohya DyLoRA": "networks.dylora",
    "Kohya LoHa": "networks.loha",
    "Kohya LoKr": "networks.lokr",
}
_ALGORITHM_ARGUMENTS = {
    "locon": ("bypass_mode", "dora_wd", "use_scalar"),
    "loha": ("bypass_mode", "dora_wd", "use_scalar"),
    "lokr": ("bypass_mode", "dora_wd", "use_scalar", "factor", "use_cp", "decompose_both"),
    "ia3": ("train_on_input",),
}
_LYCORIS_ARGUMENTS = ("use_tucker", "rank_dropout", "module_dropout", "rank_dropout_scale")
_BLOCK_ARGUMENTS = (
    "down_lr_weight",
    "mid_lr_weight",
    "up_lr_weight",
    "block_lr_zero_threshold",
    "block_dims",
    "block_alphas",
    "conv_block_dims",
    "conv_block_alphas",
)
_LORAPLUS_ARGUMENTS = (
    "loraplus_lr_ratio",
    "loraplus_unet_lr_ratio",
    "loraplus_text_encoder_lr_ratio",
)
_NETWORK_FIELDS = {
    *_BLOCK_ARGUMENTS,
    *_LYCORIS_ARGUMENTS,
    *_LORAPLUS_ARGUMENTS,
    *(name for names in _ALGORITHM_ARGUMENTS.values() for name in names),
    *("LoRA_type", "LyCORIS_preset", "conv_dim", "conv_alpha", "conv_dims", "conv_alphas"),
    *("unit", "constrain", "rescaled", "train_norm"),
}
# Fields of the GUI itself, of how it launches, of other model families, or that it ignores.
_NOT_OF_THE_TRAINING = {
    *("model_list", "save_as_bool", "weights", "sdxl_checkbox", "print_only", "headless"),
    *(
        "num_cpu_threads_per_process",
        "main_process_port",
        "gpu_ids",
        "extra_accelerate_launch_args",
    ),
    *("dynamo_backend", "dynamo_mode", "dynamo_use_fullgraph", "dynamo_use_dynamic"),
    *("lowvram", "stop_text_encoder_training_pct", "wandb_run_name", "no_token_padding"),
    *("ae", "clip_l", "clip_g", "t5xxl", "model_type", "t5xxl_lr", "t5xxl_max_token_length"),
    *("discrete_flow_shift", "model_prediction_type", "timestep_sampling", "guidance_scale"),
    *("train_blocks", "split_mode", "split_qkv", "train_t5xxl", "mem_eff_save"),
    *("apply_t5_attn_mask", "enable_all_linear", "in_dims"),
    *("single_blocks_to_swap", "double_blocks_to_swap", "fp8_base_unet"),
    *("img_attn_dim", "img_mlp_dim", "img_mod_dim", "single_dim", "single_mod_dim"),
    *("txt_attn_dim", "txt_mlp_dim", "txt_mod_dim", "train_lora_ggpo", "ggpo_sigma", "ggpo_beta"),
    *("train_double_block_indices", "train_single_block_indices", "clip_g_dropout_rate"),
    *("flux_fused_backward_pass", "fused_backward_pass", "fused_optimizer_groups"),
    *("blockwise_fused_optimizers", "disable_mmap_load_safetensors", "weighting_scheme"),
    *("logit_mean", "logit_std", "mode_scale", "pos_emb_random_crop_rate", "save_clip"),
    *("save_t5xxl", "t5xxl_device", "t5xxl_dtype", "show_timesteps", "show_timesteps_resolution"),
}
# Fields that the GUI hands on for other families alone, where the trainer here has such an option.
_SPARING_MEMORY = ("blocks_to_swap", "cpu_offload_checkpointing")
_OF_OTHER_FAMILIES = ("flux1_", "sd3_", "hunyuan_", "anima_", "lumina_")
_SWITCHED = {
    # only with the noise_offset_type of the right-hand side
    "noise_offset": "Original",
    "noise_offset_random_strength": "Original",
    "adaptive_noise_scale": "Original",
    "multires_noise_iterations": "Multires",
    "multires_noise_discount": "Multires",
}
_RENAMED = {
    "max_resolution": "resolution",
    "optimizer": "optimizer_type",
    "lora_network_weights": "network_weights",
}
_ZERO_IS_NOT_GIVEN = ("max_timestep", "max_train_epochs", "max_train_steps", "seed", "unet_lr")
_DEFAULTS = {
    "optimizer": "AdamW",
    "train_batch_size": 1,
    "lr_scheduler": "constant",
    "network_dim": 8,
    "network_alpha": 1,
    "max_resolution": "512,512",
}
"""What the GUI's fields hold where a file leaves them out or blank."""


def recognises(content: Mapping[str, Any]) -> bool:
    """A flat file with the GUI's own field names."""
    return "LoRA_type" in content or (
        "optimizer" in content and ("max_resolution" in content or "lr_warmup" in content)
    )


def translate(content: Mapping[str, Any], messages: list[Message]) -> dict[str, Any]:
    """kohya's options; a blank field is one that was not given."""
    _check_kind(content)
    fields = {name: value for name, value in content.items() if not is_blank(value)}
    given: dict[str, Any] = dict(
        _further_parameters(fields.pop("additional_parameters", ""), messages)
    )
    arguments = _network(fields, given)
    is_sdxl = is_on(fields.pop("sdxl", False))
    _rates(fields)
    _duration(fields, messages)
    fields = {**_DEFAULTS, **fields}
    if (kind := fields.pop("noise_offset_type", None)) is not None:
        for name, wanted in _SWITCHED.items():
            if kind != wanted:
                fields.pop(name, None)
    if number(fields.pop("stop_text_encoder_training", 0)):
        messages.append(
            warning("stop_text_encoder_training is left out, as kohya_ss's GUI does too.")
        )
    if is_on(fields.pop("multi_gpu", False)) or number(fields.pop("num_processes", 1)) > 1:
        messages.append(
            warning("For several GPUs start the training by `accelerate launch --multi_gpu`.")
        )
    fields.pop("num_machines", None)
    for name in _SPARING_MEMORY:
        if is_on(value := fields.pop(name, False)) or number(value):
            messages.append(
                warning(
                    "{name} = {value} is left out, as kohya_ss's GUI does for this model: set it "
                    "again, if memory is short.",
                    name=name,
                    value=repr(value),
                )
            )
    if is_on(fields.pop("sdxl_no_half_vae", False)) and is_sdxl:
        fields["no_half_vae"] = True
    if is_on(fields.pop("sdxl_cache_text_encoder_outputs", False)) and is_sdxl:
        fields["cache_text_encoder_outputs"] = True
    if is_on(fields.pop("use_wandb", False)):
        messages.append(not_supported("use_wandb", True))
    for name in ("wandb_api_key", "log_tracker_name", "log_tracker_config", "log_config"):
        fields.pop(name, None)
    for name, value in fields.items():
        if name.startswith("huggingface_") or "to_huggingface" in name or "from_hugging" in name:
            if value and value not in ("False", False):
                messages.append(not_supported(name, value))
        elif name in _ZERO_IS_NOT_GIVEN and not number(value):
            continue
        elif name not in _NOT_OF_THE_TRAINING and not name.startswith(_OF_OTHER_FAMILIES):
            given.setdefault(_RENAMED.get(name, name), value)
    for name in ("optimizer_args", "lr_scheduler_args"):
        if name in given:
            given[name] = as_pairs(given[name], name)
    given["network_args"] = [*arguments, *as_pairs(given.get("network_args"), "network_args")]
    return given


def _check_kind(content: Mapping[str, Any]) -> None:
    """Refuse what is not the training of a LoRA for SD1, SD2 or SDXL."""
    for switch, family in _OTHER_FAMILIES.items():
        if is_on(content.get(switch, False)):
            if family == "Flux" and str(content.get("model_type")).lower() == "chroma":
                family = "Chroma"
            raise other_family(WHAT, family)
    kind = content.get("LoRA_type")
    if kind in _OTHER_TYPES:
        raise other_family(WHAT, _OTHER_TYPES[kind])
    if kind is None:
        is_inversion = "token_string" in content or "num_vectors_per_token" in content
        is_fine_tuning = "dataset_repeats" in content or "create_buckets" in content
        tab = (
            "Textual Inversion"
            if is_inversion
            else "Finetuning"
            if is_fine_tuning
            else "Dreambooth"
        )
        raise UserError(
            "This {what} is one of its {tab} tab, which trains no LoRA: give a file of the LoRA "
            "tab.",
            what=Message(WHAT),
            tab=tab,
        )


def _network(fields: dict[str, Any], given: dict[str, Any]) -> list[str]:
    """Take the fields that describe the network; returns the trainer's `network_args`."""
    found = {name: fields.pop(name) for name in _NETWORK_FIELDS & fields.keys()}
    kind = str(found.get("LoRA_type"))
    if kind in _LYCORIS:
        algorithm = _LYCORIS[kind]
        given["network_module"] = "lycoris.kohya"
        arguments = {
            "algo": algorithm,
            "preset": found.get("LyCORIS_preset", "full"),
            "conv_dim": found.get("conv_dim"),
            "conv_alpha": found.get("conv_alpha"),
        }
        names = (*_LYCORIS_ARGUMENTS, *_ALGORITHM_ARGUMENTS.get(algorithm, ()), "train_norm")
        arguments |= {name: found.get(name) for name in names}
        if algorithm == "ia3":
            arguments = {name: arguments[name] for name in ("algo", "preset", "train_on_input")}
    else:
        given["network_module"] = _MODULES.get(kind, kind)
        arguments = {name: found.get(name) for name in ("rank_dropout", "module_dropout")}
        if kind in ("Standard", "Kohya LoCon", "LoRA-FA", "Kohya DyLoRA"):
            arguments |= {name: found.get(name) for name in _BLOCK_ARGUMENTS}
        if kind in ("Kohya LoHa", "Kohya LoKr"):
            arguments["use_tucker"] = found.get("use_tucker")
        if kind == "Kohya LoKr":
            arguments["factor"] = found.get("factor")
        if kind != "Standard" and kind != "LoRA-FA":
            arguments |= {name: found.get(name) for name in ("conv_dim", "conv_alpha")}
    arguments |= {name: found.get(name) for name in _LORAPLUS_ARGUMENTS}
    off = (None, "", 0, "0", False, "False")
    return [f"{name}={value}" for name, value in arguments.items() if value not in off]


def _rates(fields: dict[str, Any]) -> None:
    """A part's rate of 0 leaves the part alone, unless both are 0: then learning_rate counts."""
    text, unet = (number(fields.pop(name, 0)) for name in ("text_encoder_lr", "unet_lr"))
    if not text and not unet:
        return
    fields["text_encoder_lr"], fields["unet_lr"] = text, unet
    if not unet:
        fields["network_train_text_encoder_only"] = True


def _duration(fields: dict[str, Any], messages: list[Message]) -> None:
    """Epochs, steps and warm-up, which is a percentage of the steps."""
    epochs = int(number(fields.pop("epoch", 1)) or 1)
    if not number(fields.get("max_train_steps")) and not number(fields.get("max_train_epochs")):
        if "dataset_config" in fields:
            fields["max_train_steps"] = 1600  # the GUI leaves it to the trainer, which takes that
            messages.append(
                warning(
                    "The file says no max_train_steps beside its dataset_config: 1600, as in "
                    "kohya's trainer; the GUI's epoch does not count then."
                )
            )
        else:
            fields["max_train_epochs"] = epochs
    percentage = number(fields.pop("lr_warmup", 0))
    if not number(fields.get("lr_warmup_steps")) and percentage:
        fields["lr_warmup_steps"] = percentage / 100
    fields.setdefault("lr_scheduler_num_cycles", epochs)


def _further_parameters(text: Any, messages: list[Message]) -> dict[str, Any]:
    """What stands in the GUI's field for further parameters, as on the trainer's command line."""
    try:
        words = shlex.split(str(text))
    except ValueError:
        messages.append(
            warning(
                "additional_parameters {text} cannot be read and were left out.", text=repr(text)
            )
        )
        return {}
    found: dict[str, Any] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            found[name] = value if equals else True
        elif name:
            before = found[name]
            found[name] = word if before is True else [*_listed(before), word]
    return found


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
