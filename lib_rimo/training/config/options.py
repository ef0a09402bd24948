"""Every option of a training, declared once: type, default, bounds and help.

The command line, the job file and the tab are made from these declarations. Names and meanings
are those of kohya's trainer; the defaults are the recipe for very few pictures.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from dataclasses import dataclass, field
from typing import Any

from lib_rimo.errors import UserError

GROUPS = {
    "essentials": "What to train, on which pictures, under which name",
    "recipe": "The recipe",
    "network": "The network",
    "data": "Pictures and captions",
    "objective": "The objective",
    "saving": "Saving and samples",
    "machine": "Speed and memory",
}


def option(
    default: Any,
    help_text: str,
    group: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    usual: str = "",
) -> Any:
    """Declare a field: default, one line of help, what it may be, and what is `usual`."""
    metadata = {
        "help": help_text,
        "group": group,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "usual": usual,
    }
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


NETWORK_TYPES = ("lora", "loha", "lokr", "dora")
SCHEDULERS = ("constant", "linear", "cosine", "cosine_with_restarts", "polynomial")
SCHEDULERS_WITH_WARMUP = (*SCHEDULERS, "constant_with_warmup")


@dataclass
class TrainingOptions:
    """One training, as the user asks for it; `validate` says what cannot be."""

    # essentials
    pretrained_model_name_or_path: str = option(
        "", "The base model: an LDM .safetensors of SD1, SD2 or SDXL", "essentials"
    )
    train_data_dir: str = option(
        "", "Folder of pictures with captions, plain or with kohya's 10_name folders", "essentials"
    )
    output_name: str = option("rimo", "The LoRA's name, as in <lora:NAME:1>", "essentials")
    output_dir: str = option("output", "Folder for the LoRA, its samples and state", "essentials")
    trigger_word: str = option(
        "",
        "Word put in front of every caption that does not have it; also first in order",
        "essentials",
    )
    resolution: str = option(
        "",
        "Width,height of the training pictures; empty: what the base model was made for",
        "essentials",
        usual="512 (SD1), 768 (SD2), 1024 (SDXL)",
    )

    # recipe
    max_train_steps: int = option(
        1000,
        "Optimizer steps; few pictures want few",
        "recipe",
        minimum=1,
        maximum=1_000_000,
        usual="500 – 3000",
    )
    max_train_epochs: int | None = option(
        None, "Passes over all pictures; overrides the steps", "recipe", minimum=1
    )
    train_batch_size: int = option(
        2, "Pictures a step", "recipe", minimum=1, maximum=1024, usual="1 – 4"
    )
    gradient_accumulation_steps: int = option(
        1, "Batches whose gradients make one step", "recipe", minimum=1, maximum=1024
    )
    optimizer_type: str = option(
        "Lion",
        "Lion, AdamW, AdaFactor, Prodigy, DAdaptAdam, ScheduleFreeAdamW, Lion8bit, ...",
        "recipe",
    )
    optimizer_args: list[str] = option(  # noqa: RUF009 - it gives a field
        [], "More arguments of the optimizer, each name=value", "recipe"
    )
    learning_rate: float | None = option(
        None, "Learning rate of what has none of its own", "recipe", minimum=0
    )
    unet_lr: float | None = option(
        5e-5,
        "Learning rate of the UNet's layers",
        "recipe",
        minimum=0,
        usual="2e-5 – 1e-4 (Lion), 1e-4 – 1e-3 (AdamW)",
    )
    text_encoder_lr: float | None = option(
        2e-5,
        "Learning rate of the text encoder's layers; 0 leaves it alone",
        "recipe",
        minimum=0,
        usual="0, or a third of unet_lr",
    )
    lr_scheduler: str = option(
        "cosine_with_restarts",
        "How the learning rate changes over the run",
        "recipe",
        choices=SCHEDULERS_WITH_WARMUP,
    )
    lr_scheduler_num_cycles: int = option(
        1, "Cycles of cosine_with_restarts; 1 is the same as cosine", "recipe", minimum=1
    )
    lr_scheduler_power: float = option(1.0, "Power of polynomial", "recipe", minimum=0)
    lr_warmup_steps: float = option(
        0.0, "Steps of rising learning rate; below 1 a share of all steps", "recipe", minimum=0
    )
    max_grad_norm: float = option(
        1.0, "Longest gradient; longer ones are shortened; 0: never", "recipe", minimum=0
    )
    seed: int = option(1, "Everything random comes from it", "recipe", minimum=0, maximum=2**32 - 1)

    # network
    network_type: str = option(
        "lora",
        "lora (with conv_dim: LoCon), or LyCORIS' loha, lokr, dora",
        "network",
        choices=NETWORK_TYPES,
    )
    network_dim: int = option(
        10,
        "Rank of each layer's change; small ones overfit less",
        "network",
        minimum=1,
        maximum=1024,
        usual="4 – 32",
    )
    network_alpha: float = option(
        2.0,
        "Scale: changes count alpha / dim; small ones overfit less",
        "network",
        minimum=1e-6,
        maximum=1024,
        usual="1 – dim",
    )
    conv_dim: int | None = option(
        None, "Rank for 3x3 convolutions too (LoCon)", "network", minimum=1, maximum=1024
    )
    conv_alpha: float | None = option(
        None, "Alpha of the 3x3 convolutions", "network", minimum=1e-6, maximum=1024
    )
    network_dropout: float = option(
        0.0,
        "Share of each layer's inner values dropped while training",
        "network",
        minimum=0,
        maximum=0.99,
    )
    network_weights: str = option("", "A LoRA to go on from", "network")
    block_dims: str = option(
        "",
        "Rank block by block: 12, 17, 20 or 26 numbers, as at inference; 0 leaves a block out",
        "network",
    )
    block_alphas: str = option("", "Alpha block by block, as many numbers", "network")
    block_lr_weight: str = option(
        "", "Factor on the learning rate block by block, as many numbers", "network"
    )

    # data
    dataset_config: str = option("", "kohya's TOML of datasets and subsets", "data")
    reg_data_dir: str = option("", "Folder of regularisation pictures", "data")
    prior_loss_weight: float = option(
        1.0, "Weight of the regularisation pictures' loss", "data", minimum=0
    )
    caption_extension: str = option(
        "", "Ending of caption files; empty: .txt, then .caption", "data"
    )
    shuffle_caption: bool = option(False, "Shuffle the tags of each caption", "data")
    keep_tokens: int = option(0, "Tags at the front that stay in place", "data", minimum=0)
    caption_dropout_rate: float = option(
        0.0, "Share of captions left empty", "data", minimum=0, maximum=1
    )
    caption_tag_dropout_rate: float = option(
        0.0, "Share of tags left out", "data", minimum=0, maximum=1
    )
    flip_aug: bool = option(False, "Train on the mirrored pictures too", "data")
    enable_bucket: bool = option(True, "Keep each picture's aspect ratio", "data")
    min_bucket_reso: int = option(256, "Shortest side of a bucket", "data", minimum=32)
    max_bucket_reso: int = option(1024, "Longest side of a bucket", "data", minimum=64)
    bucket_reso_steps: int = option(64, "Sides of buckets are multiples of this", "data", minimum=8)
    bucket_no_upscale: bool = option(False, "Never enlarge a picture", "data")
    cache_latents_to_disk: bool = option(
        False, "Keep encoded pictures on disk for the next run", "data"
    )
    masked_loss: bool = option(
        False, "Count the loss only where the picture's alpha is opaque", "data"
    )

    # objective
    v_parameterization: bool | None = option(
        None, "Predict v instead of noise; empty: as the base model does", "objective"
    )
    zero_terminal_snr: bool = option(False, "End the noise schedule in pure noise", "objective")
    min_snr_gamma: float | None = option(
        None, "Weigh steps by min(SNR, gamma); 5 is usual", "objective", minimum=0
    )
    noise_offset: float = option(
        0.0,
        "Shift each channel of the noise; helps very dark and bright pictures",
        "objective",
        minimum=0,
        maximum=1,
    )
    clip_skip: int = option(
        1,
        "Layer of the text encoder, from the end",
        "objective",
        minimum=1,
        maximum=12,
    )
    max_token_length: int = option(
        75, "Longest caption in tokens: 75, 150 or 225", "objective", minimum=75, maximum=225
    )

    # saving
    save_every_n_steps: int = option(
        0,
        "Save the LoRA (name-step00000500) every so many steps; 0: only at the end",
        "saving",
        minimum=0,
    )
    save_every_n_epochs: int = option(
        0, "The same every so many passes over the pictures", "saving", minimum=0
    )
    save_state_every_n_steps: int = option(
        100,
        "Save what a killed run needs to go on every so many steps; 0: never",
        "saving",
        minimum=0,
    )
    save_precision: str = option(
        "fp16", "Precision of the saved LoRA", "saving", choices=("fp16", "bf16", "float")
    )
    sample_every_n_steps: int = option(
        0,
        "Draw sample pictures every so many steps; 0: none",
        "saving",
        minimum=0,
        usual="0, or 50 – 250",
    )
    sample_prompts: str = option(
        "", "What to draw: a prompt, or a text file of them, a line each", "saving"
    )
    training_comment: str = option("", "Kept in the LoRA's metadata", "saving")

    # machine
    mixed_precision: str = option(
        "auto",
        "Precision of the computation; auto: bf16 or fp16 on a GPU, fp32 on a CPU",
        "machine",
        choices=("auto", "no", "fp16", "bf16"),
    )
    gradient_checkpointing: bool = option(False, "Less memory, somewhat slower", "machine")
    no_half_vae: bool = option(False, "Encode pictures in fp32", "machine")
    device: str = option(
        "auto", "Where to compute", "machine", choices=("auto", "cpu", "cuda", "mps")
    )

    def __post_init__(self) -> None:
        for declared in dataclasses.fields(self):
            setattr(self, declared.name, convert(declared, getattr(self, declared.name)))

    def validate(self) -> None:
        """Raise UserError, naming the option and what it may be, for what cannot be trained."""
        for declared in dataclasses.fields(self):
            _check_bounds(declared, getattr(self, declared.name))
        if not self.pretrained_model_name_or_path:
            raise UserError(
                "No base model was named: give --pretrained_model_name_or_path MODEL.safetensors."
            )
        if not (self.train_data_dir or self.dataset_config):
            raise UserError("No pictures were named: give --train_data_dir FOLDER.")
        if self.max_token_length not in (75, 150, 225):
            raise UserError(f"max_token_length is {self.max_token_length}: use 75, 150 or 225.")
        if not self.output_name or set(self.output_name) & set('/\\:*?"<>|'):
            raise UserError(
                f"output_name is {self.output_name!r}: use a name that can be a file's and "
                'stand in <lora:NAME:1>, without / \\ : * ? " < > |.'
            )
        if not self.unet_learning_rate and not self.text_encoder_learning_rate:
            raise UserError("All learning rates are 0: give unet_lr or text_encoder_lr.")

    @property
    def unet_learning_rate(self) -> float:
        """What the UNet's layers learn with: `unet_lr`, else `learning_rate`."""
        return _first(self.unet_lr, self.learning_rate)

    @property
    def text_encoder_learning_rate(self) -> float:
        """What the text encoders' layers learn with: `text_encoder_lr`, else `learning_rate`."""
        return _first(self.text_encoder_lr, self.learning_rate)


def convert(declared: dataclasses.Field[Any], value: Any) -> Any:
    """Turn text or a TOML value into the option's type.

    Raises UserError, naming the option, where that cannot be done.
    """
    kind, optional = option_type(declared)
    if optional and (value is None or value == ""):
        return None
    try:
        return _CONVERTERS[kind](value)
    except (TypeError, ValueError):
        raise UserError(f"{declared.name} is {value!r}: use {_WANTED[kind]}.") from None


def option_type(declared: dataclasses.Field[Any]) -> tuple[type, bool]:
    """The plain type of an option (list for lists of text), and whether it may be empty."""
    hint = _type_hints()[declared.name]
    if typing.get_origin(hint) is list:
        return list, False
    if isinstance(hint, types.UnionType):
        (kind,) = (part for part in typing.get_args(hint) if part is not type(None))
        return kind, True
    return hint, False


@functools.cache
def _type_hints() -> dict[str, Any]:
    return typing.get_type_hints(TrainingOptions)


def _boolean(value: Any) -> bool:
    text = str(value).strip().lower()
    if text in ("true", "1", "yes"):
        return True
    if text in ("false", "0", "no"):
        return False
    raise ValueError


def _whole(value: Any) -> int:
    number = float(value)
    if isinstance(value, bool) or not number.is_integer():
        raise ValueError
    return int(number)


def _number(value: Any) -> float:
    number = float(value)
    if isinstance(value, bool) or not math.isfinite(number):
        raise ValueError
    return number


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):  # resolution = [448, 704]
        return ",".join(map(str, value))
    return str(value)


def _texts(value: Any) -> list[str]:
    return value.split() if isinstance(value, str) else [str(item) for item in value]


_CONVERTERS = {bool: _boolean, int: _whole, float: _number, str: _text, list: _texts}
_WANTED = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list of name=value",
}


def _check_bounds(declared: dataclasses.Field[Any], value: Any) -> None:
    low, high = declared.metadata["minimum"], declared.metadata["maximum"]
    choices = declared.metadata["choices"]
    if choices and value not in choices:
        raise UserError(f"{declared.name} is {value!r}: use one of {', '.join(choices)}.")
    if value is None or isinstance(value, (str, list)):
        return
    if (low is not None and value < low) or (high is not None and value > high):
        bounds = " and ".join(
            text
            for text, bound in (
                (f"at least {low:g}" if low is not None else "", low),
                (f"at most {high:g}" if high is not None else "", high),
            )
            if bound is not None
        )
        raise UserError(f"{declared.name} is {value}: use {bounds}.")


def _first(*rates: float | None) -> float:
    return next((rate for rate in rates if rate is not None), 0.0)
