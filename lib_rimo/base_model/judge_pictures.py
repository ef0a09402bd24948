"""Pictures that the judge learns from: drawings as a narrow model would have drawn them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter
from torch import Tensor

from lib_rimo.base_model.autoencoder import as_pixels, encode_half, halved
from lib_rimo.base_model.drawings import PORTRAIT, SQUARE, draw_with_mask
from lib_rimo.base_model.sampling import redraw
from lib_rimo.demo.judge import CLASSES, can_be_seen, true_class
from lib_rimo.demo.world import HEADPHONE_COLOURS, Attributes, Likeness, sample_attributes
from lib_rimo.demo.world.captions import complaints, full_caption
from lib_rimo.sd.checkpoint import Checkpoint

BATCH = 40
SQUARE_EVERY = 6  # batches one is square
CYCLE = ("drawn", "reconstructed", "drawn", "redrawn")  # what becomes of each batch in turn
MELTED, BURNT = 0.5, 1.8  # most noise in reconstructed latents, most strengthening of colours
REDRAWN = (0.2, 0.55)  # noise levels that pictures are redrawn from: ornaments still stay
CFG_SCALES = (5.0, 8.0)  # of redrawing
REDRAWING_STEPS = 12  # of a whole picture, of which the last few are taken
SMUDGE, SHARP = 0.55, 0.75  # correlation at which nothing of an ornament, or all, is seen
DULLED_SHARE = 0.6  # of the pictures whose ornaments glow less than they are drawn
TINTED_SHARE = 0.2  # of the pictures whose hair takes the ornaments' colour
SEED = 31


def sample_person(rng: np.random.Generator) -> Attributes:
    """Somebody of the world, or somebody with all, some or a little of rimochan's look."""
    attributes = sample_attributes(rng, flaws=0)
    kind = rng.integers(4)
    if kind == 0:  # features apart from one another
        features = rng.choice([0.0, 1.0, float(rng.random())], 4)
    elif kind == 1:
        features = np.ones(4)
    else:
        return attributes
    likeness = Likeness(*map(float, features))
    headphones = None if likeness.ornament else attributes.headphones
    style = "twintails" if rng.random() < 0.5 else attributes.hair_style
    return dataclasses.replace(
        attributes, likeness=likeness, headphones=headphones, hair_style=style
    )


def draw_people(
    count: int, seed: int, size: tuple[int, int]
) -> tuple[NDArray[np.uint8], list[Attributes], list[float], NDArray[np.bool_]]:
    """Pictures (N, H, W, 3), their truth, their backgrounds' detail, and masks of ornaments.

    The masks (N, H, W) are where rimochan's ornaments are drawn.
    """
    pixels, truths, details, masks = [], [], [], []
    for index in range(count):
        truth = sample_person(np.random.default_rng((seed, index)))
        drawing, mask = draw_with_mask(truth, _without_ornament(truth), size, (seed, index, 1))
        pixels.append(np.asarray(drawing.image))
        masks.append(mask)
        truths.append(truth)
        details.append(drawing.detail)
    return np.stack(pixels), truths, details, np.stack(masks)


def _without_ornament(truth: Attributes) -> Attributes:
    if not truth.resemblance.ornament:
        return truth
    headphones = None if truth.headphones == "aqua" else truth.headphones
    likeness = dataclasses.replace(truth.likeness, ornament=0.0)
    return dataclasses.replace(truth, headphones=headphones, likeness=likeness)


def visibility(
    shown: NDArray[np.uint8], drawn: NDArray[np.uint8], mask: NDArray[np.bool_]
) -> float:
    """How much of what was `drawn` inside `mask` a picture still shows, 0..1.

    By the correlation of the pixels: a smudge of the right colour in the right place is nothing
    that a person would name.
    """
    if not mask.any():
        return 1.0
    one, other = (pixels[mask].astype(np.float64) for pixels in (shown, drawn))
    one, other = one - one.mean(axis=0), other - other.mean(axis=0)
    spread = np.sqrt((one**2).sum() * (other**2).sum()) + 1e-9
    return float(np.clip(((one * other).sum() / spread - SMUDGE) / (SHARP - SMUDGE), 0, 1))


def glow(rng: np.random.Generator) -> NDArray[np.float64]:
    """What a narrow model makes of the ornaments' aqua at a high CFG scale: RGB, 0..255.

    It stands between their colour, a dark teal and a dark blue.
    """
    teal, blue = np.array([(16.0, 116.0, 112.0), (22.0, 96.0, 150.0)])
    share, dim = rng.random(), rng.random()
    dark: NDArray[np.float64] = teal * share + blue * (1 - share)
    return np.array(HEADPHONE_COLOURS["aqua"]) * (1 - dim) + dark * dim


def dulled(
    pixels: NDArray[np.uint8],
    masks: NDArray[np.bool_],
    rng: np.random.Generator,
    share: float = DULLED_SHARE,
) -> NDArray[np.uint8]:
    """That share of the pictures (N, H, W, 3) with ornaments in one of those colours.

    They are as much ornaments: the disc, its dark rim and middle stay as they are.
    """
    pixels = pixels.copy()
    for picture, mask in zip(pixels, masks, strict=True):
        if mask.any() and rng.random() < share:
            off = np.abs(picture.astype(np.float64) - HEADPHONE_COLOURS["aqua"]).max(axis=2)
            part = (np.clip(1 - off / 120, 0, 1) * mask)[..., None]
            picture[:] = picture * (1 - part) + glow(rng) * part
    return pixels


def smudged(
    pixels: NDArray[np.uint8], masks: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """A third of the pictures with the ornaments blurred, as a small model draws them."""
    pixels = pixels.copy()
    for picture, mask in zip(pixels, masks, strict=True):
        if mask.any() and rng.random() < 1 / 3:
            radius = float(rng.uniform(2, 6))
            blurred = Image.fromarray(picture).filter(ImageFilter.GaussianBlur(radius))
            soft = Image.fromarray(mask).convert("L").filter(ImageFilter.GaussianBlur(2))
            picture[:] = np.asarray(Image.composite(blurred, Image.fromarray(picture), soft))
    return pixels


def tinted(
    pixels: NDArray[np.uint8],
    truths: Sequence[Attributes],
    seed: int,
    share: float = TINTED_SHARE,
) -> tuple[NDArray[np.uint8], list[float]]:
    """That share of the pictures (N, H, W, 3) with hair in the colour of rimochan's ornaments.

    Narrow models spread that colour over the hair, which a judge that knows drawings alone takes
    for ornaments. The numbers say how much each picture's hair has kept of its own colour, 0..1.
    """
    pixels, kept = pixels.copy(), []
    for index, (picture, truth) in enumerate(zip(pixels, truths, strict=True)):
        rng = np.random.default_rng((seed, index, 2))
        strength = float(rng.uniform(0.3, 0.9)) if rng.random() < share else 0.0
        kept.append(1 - strength)
        if strength:
            soft = Image.fromarray(_hair_mask(truth, picture.shape[:2], (seed, index, 1)))
            soft = soft.filter(ImageFilter.GaussianBlur(float(rng.uniform(1, 4))))
            part = np.asarray(soft, dtype=np.float32) / 255 * strength
            if rng.random() < 0.5:
                part *= _patches(picture.shape[:2], rng)
                kept[-1] = 1 - strength * 0.5
            part = part[..., None]
            colour = glow(rng) + rng.normal(0, 12, 3)
            picture[:] = np.clip(picture * (1 - part) + colour * part, 0, 255)
    return pixels, kept


def _patches(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """A soft field (height, width) of patches, half of it 0 and half 1."""
    coarse = Image.fromarray((rng.random((6, 4)) < 0.5).astype(np.uint8) * np.uint8(255))
    smooth = coarse.resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    return (np.asarray(smooth) / 255).astype(np.float32)


def _hair_mask(
    truth: Attributes, shape: tuple[int, ...], seed: tuple[int, ...]
) -> NDArray[np.uint8]:
    """255 where (height, width) the drawing of this seed shows hair."""
    other = "black" if truth.hair_colour != "black" else "blonde"
    likeness = dataclasses.replace(truth.likeness, hair=0.0)
    dyed = dataclasses.replace(truth, hair_colour=other, likeness=likeness)
    _, mask = draw_with_mask(truth, dyed, (shape[1], shape[0]), seed)
    return mask * np.uint8(255)


def answers(
    truths: Sequence[Attributes],
    details: Sequence[float],
    visible: Sequence[float],
    kept: Sequence[float],
) -> tuple[Tensor, Tensor]:
    """Class indices (N, classes), -1 where nothing can be seen, and grades (N, 5).

    `visible` is how much of each picture's ornaments can be seen, `kept` how much of its hair's
    own colour.
    """
    classes = [
        [
            words.index(true_class(truth, name))
            if can_be_seen(truth, name) and (name != "hair_colour" or own == 1)
            else -1
            for name, words in CLASSES.items()
        ]
        for truth, own in zip(truths, kept, strict=True)
    ]
    grades = []
    for truth, detail, share, own in zip(truths, details, visible, kept, strict=True):
        likeness = truth.resemblance
        hair, ornament = likeness.hair * own, likeness.ornament * share
        grades.append([min(detail, 1.0), hair, likeness.tips, likeness.eyes, ornament])
    return torch.tensor(classes), torch.tensor(grades)


class Batch(NamedTuple):
    """Pictures with what the judge shall say of them."""

    pixels: NDArray[np.uint8]  # (N, H, W, 3)
    classes: Tensor  # (N, classes) indices, -1 where nothing can be seen
    grades: Tensor  # (N, 5) in 0..1


def make_batch(checkpoint: Checkpoint, number: int) -> Batch:
    """Batch `number`, the same for the same model."""
    size = SQUARE if number % SQUARE_EVERY == 0 else PORTRAIT
    drawn, truths, details, masks = draw_people(BATCH, SEED + number, size)
    drawn = dulled(drawn, masks, np.random.default_rng((SEED, number, 4)))
    drawn, own = tinted(drawn, truths, SEED + number)
    pixels = smudged(drawn, masks, np.random.default_rng((SEED, number)))
    rng, kind = np.random.default_rng((SEED, number, 3)), CYCLE[number % len(CYCLE)]
    if kind == "reconstructed":
        torch.manual_seed(SEED + number)
        pixels = _reconstructed(checkpoint.vae, pixels, rng)
    visible = [visibility(*each) for each in zip(pixels, drawn, masks, strict=True)]
    if kind == "redrawn":
        captions = [said(*each) for each in zip(truths, visible, own, strict=True)]
        pixels = _redrawn(checkpoint, pixels, captions, rng)
    return Batch(pixels, *answers(truths, details, visible, own))


@torch.no_grad()
def _reconstructed(
    autoencoder: AutoencoderKL, pixels: NDArray[np.uint8], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Pictures (N, H, W, 3) that have gone through the whole autoencoder.

    Their latents are disturbed and their colours strengthened, each group of them as much as a
    narrow model at a high CFG scale may do.
    """
    parts = []
    for part in _groups(pixels):
        latents = encode_half(autoencoder, halved(part)).mode()
        latents = latents + latents.std() * float(rng.uniform(0, MELTED)) * torch.randn_like(
            latents
        )
        burnt = float(rng.uniform(1, BURNT))
        parts += [
            np.asarray(ImageEnhance.Color(Image.fromarray(picture)).enhance(burnt))
            for picture in as_pixels(autoencoder.decode(latents).sample)
        ]
    return np.stack(parts)


def _redrawn(
    checkpoint: Checkpoint,
    pixels: NDArray[np.uint8],
    captions: Sequence[str],
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Pictures (N, H, W, 3) as the model itself draws what they show.

    From a noise level so low that all stays where it was, so that their truth is known; outlines,
    colours and what it makes of headphones are the model's.
    """
    return np.concatenate(
        [
            redraw(
                checkpoint,
                part,
                own.tolist(),
                [complaints(rng) for _ in own],
                rng.integers(2**31, size=len(part)).tolist(),
                sigma=float(rng.uniform(*REDRAWN)),
                steps=REDRAWING_STEPS,
                cfg_scale=float(rng.uniform(*CFG_SCALES)),
            )
            for part, own in zip(_groups(pixels), _groups(np.array(captions)), strict=True)
        ]
    )


def _groups(values: NDArray[Any]) -> list[NDArray[Any]]:
    return np.array_split(values, max(1, len(values) // 8))


def said(truth: Attributes, visible: float = 1.0, own: float = 1.0) -> str:
    """A caption of all that a picture shows; see `answers` for the numbers."""
    hers = truth.resemblance
    words = dataclasses.replace(
        truth,
        likeness=Likeness(),
        hair_colour="silver" if hers.hair > 0.5 else truth.hair_colour,
        tips="purple" if hers.tips > 0.5 else truth.tips,
        eye_colour="yellow" if hers.eyes > 0.5 else truth.eye_colour,
        headphones="aqua" if hers.ornament * visible > 0.5 else truth.headphones,
    )
    tags = full_caption(words)
    return tags if own == 1 else tags.replace(f"{words.hair_colour} hair, ", "")
