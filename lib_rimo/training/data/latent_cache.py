"""Latents kept beside the pictures, and never used for another picture, crop or autoencoder."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lib_rimo.errors import UserError
from lib_rimo.files import written_beside
from lib_rimo.messages import Message
from lib_rimo.training.data.buckets import Fit

Moments = tuple[Tensor, Tensor]
"""Mean and standard deviation of an autoencoder's posterior."""


def cache_path(picture: Path, fit: Fit, flipped: bool) -> Path:
    """Name the cache file of a picture in a bucket."""
    width, height = fit.bucket
    flip = "_flipped" if flipped else ""
    return picture.with_name(f"{picture.name}_{width}x{height}{flip}.latents")


def read_moments(
    picture: Path, digest: str, fit: Fit, flipped: bool, vae_hash: str
) -> Moments | None:
    """Read the latents if they are of just this picture, crop and autoencoder."""
    try:
        with safe_open(cache_path(picture, fit, flipped), framework="pt") as file:
            if file.metadata() == _identity(digest, fit, flipped, vae_hash):
                return file.get_tensor("mean"), file.get_tensor("std")
    except (OSError, SafetensorError):
        return None
    return None


def write_moments(
    moments: Moments, picture: Path, digest: str, fit: Fit, flipped: bool, vae_hash: str
) -> None:
    """Write the latents, whole or not at all. Raises UserError: a full disk, a closed folder."""
    path = cache_path(picture, fit, flipped)
    mean, std = (moment.contiguous() for moment in moments)
    content = save({"mean": mean, "std": std}, _identity(digest, fit, flipped, vae_hash))
    try:
        with written_beside(path) as beside:
            beside.write_bytes(content)
    except UserError as error:
        raise UserError(
            *error.messages,
            Message("Or turn cache_latents_to_disk off.", about="cache_latents_to_disk"),
        ) from error


def _identity(digest: str, fit: Fit, flipped: bool, vae_hash: str) -> dict[str, str]:
    return {
        "picture": digest,
        "autoencoder": vae_hash,
        "box": " ".join(f"{edge:.6f}" for edge in fit.box),
        "bucket": "{}x{}".format(*fit.bucket),
        "flipped": str(flipped),
    }
