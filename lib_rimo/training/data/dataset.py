"""The training set: folders of pictures and captions, served as batches of cached latents.

What a batch holds depends on nothing but the seed and the step: the order of the pictures, the
flips, the captions' shuffles and the noise of the autoencoder's posterior. So a run that resumes
at a step sees what the uninterrupted run saw, and N processes with batches of b together see what
one process with batches of N * b sees.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lib_rimo.errors import UserError
from lib_rimo.messages import Message
from lib_rimo.sd.size import LATENT_PIXELS, Size
from lib_rimo.training.data.buckets import Buckets, Fit
from lib_rimo.training.data.captions import CaptionVariation, count_tags
from lib_rimo.training.data.entries import Entry, EntryOptions, find_entries, options_in
from lib_rimo.training.data.image_files import UnusablePictureError
from lib_rimo.training.data.latent_cache import Moments, read_moments, write_moments
from lib_rimo.training.data.pictures import Picture, read_picture, tell_left_out
from lib_rimo.training.data.prior_captions import PriorCaptions, read_prior_prompts

Encode = Callable[[Tensor], Moments]
"""Pictures (B, 3, H, W) in -1..1 to the mean and standard deviation of their latents, each
(B, C, H/8, W/8), as the autoencoder gives them: without its scaling factor."""


class DatasetOptions(EntryOptions, Protocol):
    """What the training set reads of the options; names and meanings are kohya's."""

    train_batch_size: int
    seed: int
    shuffle_caption: bool
    keep_tokens: int
    caption_dropout_rate: float
    caption_tag_dropout_rate: float
    caption_dropout_every_n_epochs: int
    keep_tokens_separator: str
    secondary_separator: str
    caption_separator: str
    flip_aug: bool
    cache_latents_to_disk: bool
    prior_loss_weight: float
    prior_prediction_rate: float
    prior_prediction_prompts: str
    reg_prior_prediction: bool


@dataclass(frozen=True)
class Batch:
    """What one process trains on in one step; B pictures of one bucket."""

    latents: Tensor
    """(B, C, h, w) float32: one draw of the posterior, without the VAE's scaling factor."""
    captions: list[str]
    loss_weights: Tensor
    """(B,): 1 for training pictures, `prior_loss_weight` for regularisation pictures."""
    masks: Tensor | None
    """(B, 1, h, w) in 0..1, the part of each cell that counts; none when everything does."""
    original_sizes: Tensor
    """(B, 2) height and width of the picture before resizing, as SDXL is told."""
    crop_top_lefts: Tensor
    """(B, 2) rows and columns cut off after resizing."""
    target_sizes: Tensor
    """(B, 2) height and width of the bucket."""
    is_prior: list[bool]
    """Of which pictures nothing is learned but what the base model predicts for the caption."""
    slots: list[int]
    """Where each picture stands in the batch of all processes together, to draw noise by."""
    pictures: list[Path]


@dataclass
class Summary:
    """What the training set holds, for people and for the LoRA's metadata."""

    pictures: int
    regularisation_pictures: int
    train_images: int
    """Training pictures times their repeats, as kohya counts."""
    reg_images: int
    steps_per_epoch: int
    buckets: dict[Size, int]
    """Pictures times repeats in each bucket."""
    left_out: list[tuple[Path, Message]]
    messages: list[Message]
    metadata: dict[str, str] = field(repr=False)
    """The `ss_*` entries that the data decide, as kohya's trainer writes them."""

    def notes(self) -> Iterator[Message]:
        """What is trained on."""
        yield Message(
            "Pictures: {pictures}, with repeats {images}; steps an epoch: {steps}.",
            level="note",
            pictures=self.pictures,
            images=self.train_images,
            steps=self.steps_per_epoch,
        )
        if self.regularisation_pictures:
            yield Message(
                "Regularisation pictures: {pictures}, with repeats {images}.",
                level="note",
                pictures=self.regularisation_pictures,
                images=self.reg_images,
            )
        for (width, height), count in sorted(self.buckets.items()):
            size = f"{width}x{height}"
            yield Message("Bucket {size}: {n}.", level="note", size=size, n=count)

    def warnings(self) -> Iterator[Message]:
        """What was left out, and what would train badly."""
        yield from tell_left_out(self.left_out)
        yield from self.messages


@dataclass
class TrainingSet:
    """The pictures of a run; see the module's first lines for what it promises."""

    entries: list[Entry]
    buckets: Buckets
    variation: CaptionVariation
    batch_size: int
    seed: int
    flip_aug: bool = False
    cache_to_disk: bool = False
    prior_loss_weight: float = 1.0
    prior_captions: PriorCaptions = field(default_factory=PriorCaptions)
    reg_prior_prediction: bool = False
    own: Mapping[Path, tuple[CaptionVariation, bool]] = field(default_factory=dict)
    """Folders whose captions vary, or whose pictures are mirrored, otherwise than the rest's."""
    left_out: list[tuple[Path, Message]] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._encode: Encode
        self._vae_hash = ""
        self._latents: dict[tuple[int, bool], Moments] = {}
        self.has_masks = any(entry.mask is not None for entry in self.entries)
        self._by_bucket: dict[Size, list[int]] = defaultdict(list)
        for index, entry in enumerate(self.entries):
            self._by_bucket[entry.fit.bucket].extend([index] * entry.repeats)
        self._epoch_plan = lru_cache(maxsize=2)(self.plan_epoch)

    @classmethod
    def from_options(cls, options: DatasetOptions) -> TrainingSet:
        """Look through the folders. Raises UserError where there is nothing to train on."""
        found = find_entries(options)
        return cls(
            entries=found.entries,
            buckets=found.buckets,
            variation=variation_of(options),
            own={
                entry.folder.path: (variation_of(own), own.flip_aug)
                for entry in found.entries
                if entry.folder.own
                for own in (options_in(entry.folder, options),)
            },
            batch_size=options.train_batch_size,
            seed=options.seed,
            flip_aug=options.flip_aug,
            cache_to_disk=options.cache_latents_to_disk,
            prior_loss_weight=options.prior_loss_weight,
            prior_captions=PriorCaptions(
                options.prior_prediction_rate,
                options.trigger_word.strip(),
                read_prior_prompts(options.prior_prediction_prompts),
            ),
            reg_prior_prediction=options.reg_prior_prediction,
            left_out=found.left_out,
            messages=found.messages,
        )

    def steps_per_epoch(self, num_processes: int = 1) -> int:
        """Batches of all processes together until every picture was seen its repeats."""
        size = self.batch_size * num_processes
        return sum(-(-len(indices) // size) for indices in self._by_bucket.values())

    def encode_with(self, encode: Encode, vae_hash: str = "") -> None:
        """Encode pictures with this, each picture and each flip when it is first needed.

        So the first step need not wait for all. `vae_hash` names the autoencoder in caches on
        disk, so that those of another are not used.
        """
        self._encode, self._vae_hash = encode, vae_hash

    @property
    def encoded(self) -> int:
        """How many pictures are encoded; a flipped one is another."""
        return len(self._latents)

    @property
    def is_encoded(self) -> bool:
        """Whether every picture is encoded, so that the autoencoder is not needed any more."""
        return self.encoded == sum(1 + self._varied(entry)[1] for entry in self.entries)

    def _varied(self, entry: Entry) -> tuple[CaptionVariation, bool]:
        """How an entry's caption varies, and whether it is mirrored too."""
        return self.own.get(entry.folder.path, (self.variation, self.flip_aug))

    def _load(self, index: int, flipped: bool) -> None:
        """Take down the posterior of a picture."""
        entry = self.entries[index]
        key = (entry.path, entry.digest, entry.fit, flipped, self._vae_hash)
        moments = read_moments(*key) if self.cache_to_disk else None
        if moments is None:
            pixels = picture_tensor(_read_again(entry), entry.fit, flipped)
            moments = _encode_one(self._encode, pixels)
            if self.cache_to_disk:
                write_moments(moments, *key)
        self._latents[index, flipped] = moments

    def batch(self, step: int, process_index: int = 0, num_processes: int = 1) -> Batch:
        """Return what this process trains on at the step, counted in batches from 0."""
        epoch, position = divmod(step, self.steps_per_epoch(num_processes))
        together = self._epoch_plan(epoch, self.batch_size * num_processes)[position]
        first = process_index * self.batch_size
        slots = list(range(first, first + self.batch_size))
        indices = [together[slot] for slot in slots]
        entries = [self.entries[index] for index in indices]
        latents, captions, masks, crops, is_prior = [], [], [], [], []
        for slot, index, entry in zip(slots, indices, entries, strict=True):
            rng = random.Random(f"{self.seed} step {step} slot {slot}")
            noise_seed = rng.getrandbits(63)
            variation, flip_aug = self._varied(entry)
            flipped = flip_aug and rng.random() < 0.5
            if (index, flipped) not in self._latents:
                self._load(index, flipped)
            mean, std = self._latents[index, flipped]
            noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(noise_seed))
            latents.append(mean + std * noise)
            caption = variation.apply(entry.caption, rng, epoch)
            other = None
            if not entry.folder.is_regularisation:
                other = self.prior_captions.draw(caption, f"{self.seed} prior {step} {slot}")
            captions.append(caption if other is None else other)
            is_prior.append(
                other is not None or (self.reg_prior_prediction and entry.folder.is_regularisation)
            )
            crops.append(entry.fit.crop_top_left(flipped))
            if self.has_masks:
                masks.append(mask_of(entry, flipped))
        return Batch(
            latents=torch.stack(latents),
            captions=captions,
            loss_weights=torch.tensor(
                [
                    self.prior_loss_weight if entry.folder.is_regularisation else 1.0
                    for entry in entries
                ]
            ),
            masks=torch.stack(masks) if masks else None,
            original_sizes=torch.tensor([entry.fit.size[::-1] for entry in entries]),
            crop_top_lefts=torch.tensor(crops),
            target_sizes=torch.tensor([entry.fit.bucket[::-1] for entry in entries]),
            is_prior=is_prior,
            slots=slots,
            pictures=[entry.path for entry in entries],
        )

    def plan_epoch(self, epoch: int, size: int) -> list[list[int]]:
        """Deal the epoch's entries, by number, into full batches of `size` from one bucket each.

        A bucket's last batch is filled up with pictures of the same bucket. kohya's trainer
        leaves it short; in the mean of the loss the bucket counts for as much either way.
        """
        rng = random.Random(f"{self.seed} epoch {epoch}")
        batches = []
        for _, indices in sorted(self._by_bucket.items()):
            order = list(indices)
            rng.shuffle(order)
            order += [order[extra % len(indices)] for extra in range(-len(order) % size)]
            batches += [order[start : start + size] for start in range(0, len(order), size)]
        rng.shuffle(batches)
        return batches

    def summary(self, num_processes: int = 1) -> Summary:
        """Tell what is in the set."""
        training = [entry for entry in self.entries if not entry.folder.is_regularisation]
        regularisation = [entry for entry in self.entries if entry.folder.is_regularisation]
        return Summary(
            pictures=len(training),
            regularisation_pictures=len(regularisation),
            train_images=sum(entry.repeats for entry in training),
            reg_images=sum(entry.repeats for entry in regularisation),
            steps_per_epoch=self.steps_per_epoch(num_processes),
            buckets={bucket: len(indices) for bucket, indices in self._by_bucket.items()},
            left_out=self.left_out,
            messages=self.messages,
            metadata=self._metadata(training, regularisation, num_processes),
        )

    def _metadata(
        self, training: list[Entry], regularisation: list[Entry], num_processes: int
    ) -> dict[str, str]:
        captions: dict[str, list[str]] = defaultdict(list)
        for entry in self.entries:
            captions[entry.folder.path.name].append(entry.caption)
        buckets = {
            str(number): {"resolution": list(bucket), "count": len(indices)}
            for number, (bucket, indices) in enumerate(sorted(self._by_bucket.items()))
        }
        errors = [
            abs(entry.fit.size[0] / entry.fit.size[1] - entry.fit.bucket[0] / entry.fit.bucket[1])
            for entry in self.entries
        ]
        bucket_info = {"buckets": buckets, "mean_img_ar_error": sum(errors) / len(errors)}
        return {
            "ss_num_train_images": str(sum(entry.repeats for entry in training)),
            "ss_num_reg_images": str(sum(entry.repeats for entry in regularisation)),
            "ss_num_batches_per_epoch": str(self.steps_per_epoch(num_processes)),
            "ss_batch_size_per_device": str(self.batch_size),
            "ss_total_batch_size": str(self.batch_size * num_processes),
            "ss_resolution": str(self.buckets.resolution),
            "ss_flip_aug": str(self.flip_aug),
            "ss_color_aug": "False",
            "ss_random_crop": "False",
            "ss_shuffle_caption": str(self.variation.shuffle_caption),
            "ss_keep_tokens": str(self.variation.keep_tokens),
            "ss_caption_dropout_rate": str(self.variation.caption_dropout_rate),
            "ss_caption_tag_dropout_rate": str(self.variation.caption_tag_dropout_rate),
            "ss_prior_loss_weight": str(self.prior_loss_weight),
            "ss_enable_bucket": str(self.buckets.enable_bucket),
            "ss_bucket_no_upscale": str(self.buckets.bucket_no_upscale),
            "ss_min_bucket_reso": str(self.buckets.min_bucket_reso),
            "ss_max_bucket_reso": str(self.buckets.max_bucket_reso),
            "ss_bucket_info": json.dumps(bucket_info if self.buckets.enable_bucket else None),
            "ss_dataset_dirs": json.dumps(_directories(training)),
            "ss_reg_dataset_dirs": json.dumps(_directories(regularisation)),
            "ss_tag_frequency": json.dumps(
                {name: count_tags(texts) for name, texts in captions.items()}
            ),
        }


def variation_of(options: DatasetOptions) -> CaptionVariation:
    """How captions vary by these options."""
    return CaptionVariation(
        shuffle_caption=options.shuffle_caption,
        keep_tokens=options.keep_tokens,
        caption_dropout_rate=options.caption_dropout_rate,
        caption_tag_dropout_rate=options.caption_tag_dropout_rate,
        trigger_word=options.trigger_word.strip(),
        caption_dropout_every_n_epochs=options.caption_dropout_every_n_epochs,
        keep_tokens_separator=options.keep_tokens_separator,
        secondary_separator=options.secondary_separator,
        caption_separator=options.caption_separator or ",",
        enable_wildcard=options.enable_wildcard,
    )


def _encode_one(encode: Encode, pixels: Tensor) -> Moments:
    """Encode (3, H, W) by itself, so that its latents never depend on its company."""
    mean, std = encode(pixels[None])
    return mean[0].float().cpu(), std[0].float().cpu()


def picture_tensor(picture: Picture, fit: Fit, flipped: bool) -> Tensor:
    """Cut and scale a picture to its bucket: (3, H, W) float32 in -1..1."""
    image = picture.rgb.resize(fit.bucket, Image.Resampling.LANCZOS, box=fit.box)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1
    return pixels.flip(-1) if flipped else pixels


def mask_of(entry: Entry, flipped: bool) -> Tensor:
    """How much of each latent cell counts, mirrored as the picture is: (1, h, w) in 0..1."""
    if entry.mask is None:
        width, height = (side // LATENT_PIXELS for side in entry.fit.bucket)
        return torch.ones(1, height, width)
    return entry.mask.flip(-1) if flipped else entry.mask


def _read_again(entry: Entry) -> Picture:
    """Read the picture that was looked at when the set was made."""
    try:
        picture = read_picture(entry.path)
    except UnusablePictureError as error:
        raise UserError(
            "{file} {reason}, though it was there a moment ago; start again.",
            file=entry.path,
            reason=error.reason,
            about=entry.path.name,
        ) from None
    if picture.digest != entry.digest:
        raise UserError(
            "{file} changed while it was read; start again.",
            file=entry.path,
            about=entry.path.name,
        )
    return picture


def _directories(entries: list[Entry]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for entry in entries:
        info = found.setdefault(
            entry.folder.path.name, {"n_repeats": entry.folder.repeats, "img_count": 0}
        )
        info["img_count"] += 1
    return found
