"""What cannot be trained, found before anything is loaded.

The page, the estimate, the command line, the queue and the trainer ask the same function. It tells
all that is wrong at once, each with the option that it is about.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from lib_rimo.errors import UserError
from lib_rimo.inference.infotext import check_settings
from lib_rimo.lora.blocks import UNET_LAYOUTS, expand_vector
from lib_rimo.messages import Message
from lib_rimo.sd.file_header import read_header
from lib_rimo.sd.native import native_of
from lib_rimo.sd.size import LATENT_PIXELS, parse_resolution, read_size
from lib_rimo.training.augment.origin import staleness
from lib_rimo.training.config.dataset_config import read_dataset_config
from lib_rimo.training.config.names import check_name
from lib_rimo.training.config.optimizer_names import check_optimizer, read_arguments
from lib_rimo.training.config.options import MOST_DIM, TrainingOptions, check_values
from lib_rimo.training.data.captions import read_caption
from lib_rimo.training.data.folders import find_folders, unused_folders
from lib_rimo.training.data.pictures import find_pictures
from lib_rimo.training.data.prior_captions import read_prior_prompts
from lib_rimo.training.proposal import propose_other_backgrounds
from lib_rimo.training.sample_prompts import sample_settings

MODEL_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
_EXTENSION = re.compile(r"\.?\w[\w-]*(\.\w[\w-]*)*")


def validate(options: TrainingOptions) -> None:
    """Raise UserError with every fault of the options and of the files that they name."""
    if faults := find_faults(options):
        raise UserError(*faults)


def find_faults(options: TrainingOptions) -> list[Message]:
    """Everything that keeps these options from being trained."""
    checks: list[Callable[[], object]] = [
        lambda: check_values(options),
        lambda: check_optimizer(options.optimizer_type),
        lambda: read_arguments(options.optimizer_args, "optimizer_args"),
        lambda: read_arguments(options.lr_scheduler_args, "lr_scheduler_args"),
        lambda: parse_resolution(options.resolution) if options.resolution else None,
        lambda: _check_blocks(options),
        lambda: read_prior_prompts(options.prior_prediction_prompts),
    ]
    faults = [*_wrong_values(options), *find_contradictions(options), *_wrong_files(options)]
    faults += check_name(options.output_name)
    for check in checks:
        with _noting(faults, ""):
            check()
    with _noting(faults, "dataset_config" if options.dataset_config else "train_data_dir"):
        _check_pictures(options)
    if not any(fault.about in ("sample_sampler", "seed", "clip_skip") for fault in faults):
        with _noting(faults, "sample_prompts"):
            _check_samples(options)
    return list(dict.fromkeys(faults))


@contextmanager
def _noting(faults: list[Message], about: str) -> Iterator[None]:
    """Within it what is refused becomes faults, `about` that option where they name none."""
    try:
        yield
    except UserError as error:
        for message in error.messages:
            message.about = message.about or about
            faults.append(message)


def find_disappointments(options: TrainingOptions) -> list[Message]:
    """What can be trained, but would not give what is wanted; to be told before the start."""
    if options.dataset_config or not Path(options.train_data_dir or ".").is_dir():
        return []
    proposal = propose_other_backgrounds(options)
    return [
        *find_stale(options),
        *_not_used(options),
        *_without_words(options),
        *([proposal] if proposal else []),
    ]


def find_stale(options: TrainingOptions) -> list[Message]:
    """Why the pictures, where they were made of others, would be made otherwise today."""
    base = Path(options.pretrained_model_name_or_path)
    try:
        native = native_of(base)
    except UserError:  # told of the model itself
        native = None
    return staleness(Path(options.train_data_dir or "."), base.stem, native)


def _not_used(options: TrainingOptions) -> list[Message]:
    """Pictures that lie where the trainer does not look."""
    if not options.train_data_dir:
        return []
    root = Path(options.train_data_dir)
    return unused_folders(root, find_folders(root))


def _without_words(options: TrainingOptions) -> list[Message]:
    """What no word of a prompt would call."""
    if options.trigger_word.strip() or not options.train_data_dir:
        return []
    bare: list[str] = []
    for folder in find_folders(Path(options.train_data_dir)):
        for picture in find_pictures(folder.path):
            if read_caption(picture, options.caption_extension) is None:
                bare.append(picture.name)
    if not bare:
        return []
    return [
        Message(
            "Captions are missing for {n} of the pictures and there is no trigger word, so no word "
            "of a prompt would call what is learned from them ({names}): give a trigger word, or "
            "write captions.",
            about="trigger_word",
            level="warning",
            n=len(bare),
            names=bare[:3] if len(bare) <= 3 else [*bare[:3], "…"],
        )
    ]


def _wrong_values(options: TrainingOptions) -> Iterator[Message]:
    """What is wrong with the values themselves beyond their declared bounds."""
    if options.bucket_reso_steps % LATENT_PIXELS:
        yield Message(
            "bucket_reso_steps is {value}; give a multiple of {step}, usually 64.",
            value=options.bucket_reso_steps,
            step=LATENT_PIXELS,
            about="bucket_reso_steps",
        )
    if options.caption_extension and not _EXTENSION.fullmatch(options.caption_extension):
        yield Message(
            "caption_extension is {value}: write the ending of the files, such as .txt.",
            value=repr(options.caption_extension),
            about="caption_extension",
        )


def find_contradictions(options: TrainingOptions) -> Iterator[Message]:
    """Ways to spare memory that do not go together with the rest."""
    needs_checkpointing = "{option} goes only with gradient_checkpointing: set it to true."
    for option in ("blocks_to_swap", "cpu_offload_checkpointing"):
        if getattr(options, option) and not options.gradient_checkpointing:
            yield Message(needs_checkpointing, option=option, about=option)
    if options.cache_text_encoder_outputs and options.text_encoder_learning_rate:
        yield Message(
            "cache_text_encoder_outputs is for text encoders that are not trained: set "
            "text_encoder_lr to 0.",
            about="cache_text_encoder_outputs",
        )
    if options.fp8_base and options.network_type != "lora":
        yield Message(
            "fp8_base goes only with network_type lora: LyCORIS computes with whole weights.",
            about="fp8_base",
        )


def _wrong_files(options: TrainingOptions) -> Iterator[Message]:
    """Files that are not there or not what they should be, and folders that take nothing."""
    base = "pretrained_model_name_or_path"
    model = Path(options.pretrained_model_name_or_path)
    if not options.pretrained_model_name_or_path:
        yield Message(
            "No base model was named: give --pretrained_model_name_or_path MODEL.safetensors.",
            about=base,
        )
    elif not _is_file(model):
        yield Message("There is no base model {file}: choose another.", file=model, about=base)
    elif model.suffix.lower() not in MODEL_SUFFIXES:
        wrong = "{file} is not a .safetensors model: choose another."
        yield Message(wrong, file=model.name, about=base)
    if options.vae and not _is_file(Path(options.vae)):
        yield Message("There is no VAE {file}: choose another.", file=options.vae, about="vae")
    if options.network_weights:
        lora = Path(options.network_weights)
        if not _is_file(lora):
            yield Message(
                "There is no LoRA file {file}: check the name and the folder.",
                file=lora,
                about="network_weights",
            )
        elif not _is_lora(lora):
            yield Message(
                "{file} is no LoRA that a training could go on from: choose another.",
                file=lora.name,
                about="network_weights",
            )
    if options.conditioning_data_dir and not _is_folder(Path(options.conditioning_data_dir)):
        yield Message(
            "There is no folder {folder}; give the folder that holds the masks.",
            folder=options.conditioning_data_dir,
            about="conditioning_data_dir",
        )
    if not _is_writable(Path(options.output_dir)):
        yield Message(
            "{folder} cannot be written to: give another output_dir.",
            folder=options.output_dir,
            about="output_dir",
        )


def _check_pictures(options: TrainingOptions) -> None:
    """Raise UserError where there are no pictures to train on."""
    if options.dataset_config:
        for subset in read_dataset_config(Path(options.dataset_config)).subsets:
            if not _is_folder(subset.image_dir):
                raise UserError(
                    "There is no folder {folder}; give the folder that holds the pictures.",
                    folder=subset.image_dir,
                    about="dataset_config",
                )
        return
    if not options.train_data_dir:
        raise UserError(
            "No pictures were named: give --train_data_dir FOLDER.", about="train_data_dir"
        )
    for option in ("train_data_dir", "reg_data_dir"):
        if root := getattr(options, option):
            if not _is_folder(Path(root)):
                raise UserError(
                    "There is no folder {folder}; give the folder that holds the pictures.",
                    folder=root,
                    about=option,
                )
            find_folders(Path(root), is_regularisation=option == "reg_data_dir")


def _check_samples(options: TrainingOptions) -> None:
    """Raise UserError where a sample prompt cannot be read, or not be drawn."""
    drawn = options
    if read_size(options.resolution) is None:  # empty, or told by itself
        drawn = replace(options, resolution="512")
    for settings in sample_settings(drawn, []):
        try:
            check_settings(settings)
        except UserError as error:
            raise UserError(
                "The sample prompt {prompt} cannot be drawn. {reason}",
                prompt=repr(settings.prompt),
                reason=error.messages[0],
                about="sample_prompts",
            ) from None


def _check_blocks(options: TrainingOptions) -> None:
    faults: list[Message] = []
    for option, least, is_whole in (
        ("block_dims", 0.0, True),
        ("block_alphas", 0.0, False),
        ("block_lr_weight", 0.0, False),
    ):
        try:
            for value in block_values(getattr(options, option), option).values():
                if value < least or (is_whole and (value % 1 or value > MOST_DIM)):
                    raise UserError(
                        "{option} has {value}: use whole numbers from 0 to {most}."
                        if is_whole
                        else "{option} has {value}: use numbers from 0 on.",
                        option=option,
                        value=f"{value:g}",
                        most=MOST_DIM,
                        about=option,
                    )
        except UserError as error:
            faults += error.messages
    if faults:
        raise UserError(*faults)


def block_values(text: str, option: str) -> dict[str, float]:
    """Numbers by block from an option's vector; empty text gives none. Raises UserError."""
    if not text.strip():
        return {}
    try:
        values = [float(part) for part in text.split(",")]
        if not all(map(math.isfinite, values)):
            raise ValueError
    except ValueError:
        raise UserError(
            "{option} is {value}: write numbers with commas between.",
            option=option,
            value=repr(text),
            about=option,
        ) from None
    try:
        return expand_vector(values, UNET_LAYOUTS)
    except UserError as error:
        raise UserError(
            "{option}: {reason}", option=option, reason=error.messages[0], about=option
        ) from None


def _is_lora(path: Path) -> bool:
    try:
        keys = read_header(path).shapes
    except (OSError, ValueError):
        return False
    return any(part in key for key in keys for part in ("lora_", "hada_", "lokr_"))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _is_writable(folder: Path) -> bool:
    """Whether files can be written in a folder, which may still have to be made."""
    try:
        present = next(place for place in (folder, *folder.absolute().parents) if place.exists())
        return present.is_dir() and os.access(present, os.W_OK | os.X_OK)
    except (OSError, ValueError):
        return False
