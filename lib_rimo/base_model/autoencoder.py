"""The base model's autoencoder: a KL f8 autoencoder in SD's layout with narrow channels.

Two parts, because the level of full resolution is three quarters of the work:

1. Encoder and decoder without that level, on pictures of half the size: many steps on crops, then
   whole pictures, whose statistics the normalisation layers meet in use. The level is then put in
   so that it changes nothing: the encoder's averages 2x2 pixels, the decoder's repeats them. The
   latents are centred and scaled, and the encoder is done.
2. The decoder with all its levels from the finished encoder's latents, again on crops first.
3. Going on from a finished model: both halves together on what is too small for it, headphones,
   near the latents that its diffusion knows.

Level 0 has 64 channels and not 32: the layout's normalisation has 32 groups, and a group of one
channel loses how bright that channel is.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.models.resnet import ResnetBlock2D
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lib_rimo.base_model.drawings import draw_headphones, make_drawings
from lib_rimo.base_model.parallel import Worker
from lib_rimo.base_model.stage import Stage, cosine_rate

CHANNELS = (64, 64, 128, 128)
SCALE_FACTOR = 0.18215
KL_WEIGHT = 1e-4
LEARNING_RATE = 8e-4
BATCH = 4  # pictures, or crops of them, a process
CROP = (96, 64)  # rows and columns of a crop, a quarter of a picture
GOING_ON_RATE = 4e-4  # of a decoder that has learned before
DRAWINGS = 2500  # a process
HEADPHONES_DRAWINGS = 800  # a process, of stage 3
HEADPHONES_SHARE = 0.7  # of the pictures of stage 3
HEADPHONES_WEIGHT = 8.0  # of the error inside their mask
STAY_WEIGHT = 1.0  # of how far the latents move where no headphones are, in units of their variance
SEED = 11


def make_autoencoder() -> AutoencoderKL:
    """An untrained autoencoder whose level of full resolution changes nothing yet."""
    model = AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=CHANNELS,
        layers_per_block=1,
        latent_channels=4,
        scaling_factor=SCALE_FACTOR,
    )
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, ResnetBlock2D):  # starts as the identity: learns sooner
                nn.init.zeros_(module.conv2.weight)
                nn.init.zeros_(module.conv2.bias)
        same = torch.eye(CHANNELS[0])
        model.encoder.conv_in.weight *= _centre(model.encoder.conv_in.weight)
        down = model.encoder.down_blocks[0].downsamplers[0].conv
        nn.init.zeros_(down.weight)
        nn.init.zeros_(down.bias)
        down.weight[:, :, :2, :2] = same[:, :, None, None] / 4
        up = model.decoder.up_blocks[2].upsamplers[0].conv
        nn.init.zeros_(up.weight)
        nn.init.zeros_(up.bias)
        up.weight[:, :, 1, 1] = same
    return model


def _centre(kernel: Tensor) -> Tensor:
    """1 at the middle of 3x3 kernels, 0 around it."""
    mask = torch.zeros_like(kernel)
    mask[:, :, 1, 1] = 1
    return mask


@torch.no_grad()
def scaled(model: AutoencoderKL, factor: float) -> AutoencoderKL:
    """The autoencoder whose latents, times `factor`, are what this one's are times its own."""
    ratio = model.config.scaling_factor / factor
    if ratio == 1:
        return model
    model = copy.deepcopy(model)
    model.register_to_config(scaling_factor=factor)
    mean, log_variance = slice(0, 4), slice(4, 8)
    model.quant_conv.weight[mean] *= ratio
    model.quant_conv.bias[mean] *= ratio
    model.quant_conv.bias[log_variance] += 2 * math.log(ratio)
    model.post_quant_conv.weight /= ratio
    return model


def encode_half(model: AutoencoderKL, pictures: Tensor) -> DiagonalGaussianDistribution:
    """Encode pictures (N, 3, H / 2, W / 2) that are already averaged down to half the size.

    The same as `model.encode` of the whole pictures, at a quarter of the work.
    """
    encoder = model.encoder
    hidden = encoder.conv_in(pictures)
    for block in encoder.down_blocks[1:]:
        hidden = block(hidden)
    hidden = encoder.conv_out(encoder.conv_act(encoder.conv_norm_out(encoder.mid_block(hidden))))
    return DiagonalGaussianDistribution(model.quant_conv(hidden))


def decode_half(model: AutoencoderKL, latents: Tensor) -> Tensor:
    """Decode latents (N, 4, h, w) to pictures of half the size, (N, 3, 4h, 4w)."""
    decoder = model.decoder
    hidden = decoder.mid_block(decoder.conv_in(model.post_quant_conv(latents)))
    for block in decoder.up_blocks[:2]:
        hidden = block(hidden)
    for resnet in decoder.up_blocks[2].resnets:
        hidden = resnet(hidden, None)
    output: Tensor = decoder.conv_out(decoder.conv_act(decoder.conv_norm_out(hidden)))
    return output


def as_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """(N, H, W, 3) bytes -> (N, 3, H, W) in -1..1."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


def as_pixels(images: Tensor) -> NDArray[np.uint8]:
    """(N, 3, H, W) in -1..1 -> (N, H, W, 3) bytes."""
    levels = ((images.float().clamp(-1, 1) + 1) * 127.5).round().byte()
    return np.ascontiguousarray(levels.permute(0, 2, 3, 1).numpy())


def halved(pixels: NDArray[np.uint8]) -> Tensor:
    """(N, H, W, 3) bytes -> (N, 3, H / 2, W / 2) in -1..1."""
    return functional.avg_pool2d(as_tensor(pixels), 2)


def cropped(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A random crop of each picture: four times the steps in the same time."""
    height, width = CROP
    crops = np.empty((len(pixels), height, width, pixels.shape[3]), dtype=np.uint8)
    for crop, picture in zip(crops, pixels, strict=True):
        top = rng.integers(picture.shape[0] - height + 1)
        left = rng.integers(picture.shape[1] - width + 1)
        crop[:] = picture[top : top + height, left : left + width]
    return crops


def cropped_at_mask(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Crops of pictures (N, H, W, 4) that show something of their mask, the last channel."""
    height, width = CROP
    crops = cropped(pixels, rng)
    for crop, picture in zip(crops, pixels, strict=True):
        rows, columns = np.nonzero(picture[..., 3])
        if len(rows):
            chosen = rng.integers(len(rows))
            top = np.clip(rows[chosen] - rng.integers(height), 0, picture.shape[0] - height)
            left = np.clip(columns[chosen] - rng.integers(width), 0, picture.shape[1] - width)
            crop[:] = picture[top : top + height, left : left + width]
    return crops


def recoloured(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A third of the pictures with red, green and blue exchanged.

    The autoencoder has to hold colours that the world's words do not name.
    """
    pixels = pixels.copy()
    for picture in pixels:
        if rng.random() < 0.33:
            picture[..., :3] = picture[..., rng.permutation(3)]
    return pixels


def reconstruction_loss(output: Tensor, target: Tensor) -> Tensor:
    """Errors of the pictures, and of their gradients (outlines!) at two sizes.

    The squared error, which grows with the distance, has the colours learned early.
    """
    loss = 4 * (output - target).square().mean() + 2 * (output - target).abs().mean()
    for _ in range(2):
        for axis in (-1, -2):
            loss = loss + 0.5 * (output.diff(dim=axis) - target.diff(dim=axis)).abs().mean()
        output, target = functional.avg_pool2d(output, 2), functional.avg_pool2d(target, 2)
    return loss


def mixed_precision() -> torch.autocast:
    """bfloat16 where the processor multiplies it in tiles; elsewhere it takes twice the time."""
    return torch.autocast("cpu", torch.bfloat16, enabled=torch.cpu._is_amx_tile_supported())


def half_loss(model: AutoencoderKL, pixels: NDArray[np.uint8]) -> Tensor:
    """Stage 1: reconstruction at half the size and a weak pull of the latents to N(0, 1)."""
    target = halved(pixels)
    with mixed_precision():
        posterior = encode_half(model, target)
        output = decode_half(model, posterior.sample())
    kl = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).float().mean()
    loss: Tensor = reconstruction_loss(output.float(), target) + KL_WEIGHT * kl
    return loss


def full_loss(model: AutoencoderKL, pixels: NDArray[np.uint8]) -> Tensor:
    """Stage 2: the decoder's pictures from the finished encoder's latents."""
    with mixed_precision():
        with torch.no_grad():
            latents = encode_half(model, halved(pixels)).sample()
        output = model.decode(latents).sample
    return reconstruction_loss(output.float(), as_tensor(pixels))


def ornaments_loss(model: AutoencoderKL, known: AutoencoderKL, pixels: NDArray[np.uint8]) -> Tensor:
    """Stage 3: reconstruction of (N, H, W, 4), above all inside the mask, near `known`'s latents.

    Where the mask is, the latents are free: they are to say what they did not say before.
    """
    target, small = as_tensor(pixels[..., :3]), halved(pixels[..., :3])
    mask = torch.from_numpy(pixels[..., 3] > 0)[:, None]  # (N, 1, H, W)
    with mixed_precision():
        with torch.no_grad():
            before = encode_half(known, small)
        posterior = encode_half(model, small)
        output = model.decode(posterior.sample()).sample.float()
    inside = torch.where(mask, output, target)  # errors of its own pixels and of its outline
    free = functional.max_pool2d(mask.float(), 8)  # (N, 1, H / 8, W / 8)
    moved = (posterior.mean - before.mean).float().square() * SCALE_FACTOR**2
    spread = (posterior.logvar - before.logvar).float().square()
    loss: Tensor = (
        reconstruction_loss(output, target)
        + HEADPHONES_WEIGHT * reconstruction_loss(inside, target)
        + STAY_WEIGHT * ((1 - free) * moved).mean()
        + KL_WEIGHT * spread.mean()
    )
    return loss


def load_autoencoder(stage: Stage) -> AutoencoderKL | None:
    """The autoencoder that a stage has trained, or None while the stage is not done."""
    done = stage.load("final")
    if done is None:
        return None
    model = make_autoencoder()
    model.load_state_dict(done["model"])
    return model.eval()


def train_encoder(worker: Worker, stage: Stage, on_crops: int, on_whole: int) -> None:
    """Train both halves for so many steps, or go on; then normalise the latents."""
    torch.manual_seed(SEED)
    model = make_autoencoder()
    # The first kernel stays a single pixel's, so that it works alike on pixels and their averages.
    model.encoder.conv_in.weight.register_hook(lambda gradient: gradient * _centre(gradient))
    for parameter in _full_resolution(model):
        parameter.requires_grad_(False)
    _train(worker, stage, model, half_loss, on_crops, on_whole, LEARNING_RATE, normalise_latents)


def train_decoder(
    worker: Worker, stage: Stage, encoder: Stage, on_crops: int, on_whole: int, rate: float
) -> None:
    """Train the decoder alone, with all its levels, on what the finished encoder makes."""
    model = load_autoencoder(encoder)
    if model is None:
        raise FileNotFoundError(f"no autoencoder in {encoder.folder}: run the stages before")
    model.encoder.requires_grad_(False)
    model.quant_conv.requires_grad_(False)
    _train(worker, stage, model, full_loss, on_crops, on_whole, rate)


def train_ornaments(
    worker: Worker, stage: Stage, model: AutoencoderKL, on_crops: int, on_whole: int, rate: float
) -> None:
    """Train a finished autoencoder's halves together on headphones, near its latents."""
    known = copy.deepcopy(model).requires_grad_(False)
    model.encoder.conv_in.weight.register_hook(lambda gradient: gradient * _centre(gradient))
    model.encoder.down_blocks[0].requires_grad_(False)  # averages pixels: see `encode_half`
    _train(
        worker,
        stage,
        model,
        lambda trained, pixels: ornaments_loss(trained, known, pixels),
        on_crops,
        on_whole,
        rate,
        pictures_of=lambda seed: draw_headphones(HEADPHONES_DRAWINGS, seed, HEADPHONES_SHARE),
        crop=cropped_at_mask,
    )


def _full_resolution(model: AutoencoderKL) -> Iterator[nn.Parameter]:
    """The parameters of the level that works on whole pictures."""
    yield from model.encoder.down_blocks[0].parameters()
    yield from model.decoder.up_blocks[2].upsamplers.parameters()
    yield from model.decoder.up_blocks[3].parameters()


def _train(
    worker: Worker,
    stage: Stage,
    model: AutoencoderKL,
    loss_of: Callable[[AutoencoderKL, NDArray[np.uint8]], Tensor],
    on_crops: int,
    on_whole: int,
    rate: float,
    finish: Callable[[AutoencoderKL, NDArray[np.uint8]], None] | None = None,
    pictures_of: Callable[[int], NDArray[np.uint8]] = lambda seed: (
        make_drawings(DRAWINGS, seed).pixels
    ),
    crop: Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]] = cropped,
) -> None:
    if load_autoencoder(stage):
        return
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, betas=(0.9, 0.99), weight_decay=1e-4, fused=True)
    start = 0
    if state := stage.load():
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    worker.wait()
    pictures = pictures_of(SEED + worker.rank)
    running: list[float] = []
    steps = on_crops + on_whole
    for step in stage.steps(start, steps, visible=worker.leads):
        seed = step * worker.count + worker.rank
        rng = np.random.default_rng((SEED, seed))
        torch.manual_seed(seed)
        chosen = pictures[rng.integers(len(pictures), size=BATCH)]
        if step < on_crops:
            chosen = crop(chosen, rng)
        loss = loss_of(model, recoloured(chosen, rng))
        worker.descend(optimizer, loss, cosine_rate(rate, step, steps, warm_up=100))
        running.append(loss.item())
        if worker.leads and (step + 1) % 50 == 0:
            stage.log(step=step + 1, loss=float(np.mean(running)))
            running.clear()
            stage.save(
                {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            )
    if worker.leads:
        if finish:
            finish(model, pictures[:512])
        stage.save({"model": model.state_dict()}, "final")
    worker.wait()


@torch.no_grad()
def normalise_latents(model: AutoencoderKL, pictures: NDArray[np.uint8]) -> None:
    """Fold each latent channel's mean and spread into the 1x1 convolutions on both sides.

    Afterwards SCALE_FACTOR * latents have mean 0 and variance 1 over `pictures`, as the
    samplers of every Stable Diffusion program expect.
    """
    parts = np.array_split(pictures, len(pictures) // 16)
    latents = torch.cat([encode_half(model, halved(part)).mean for part in parts])
    mean = latents.mean(dim=(0, 2, 3))  # (4,)
    scale = latents.std(dim=(0, 2, 3)) * SCALE_FACTOR  # (4,)
    into, out = model.quant_conv, model.post_quant_conv
    out.bias += out.weight[:, :, 0, 0] @ mean
    out.weight *= scale[None, :, None, None]
    into.weight[:4] /= scale[:, None, None, None]
    into.bias[:4] = (into.bias[:4] - mean) / scale
    into.bias[4:] -= 2 * scale.log()
