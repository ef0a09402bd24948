"""Make the base model again from nothing: `python -m lib_rimo.base_model.train`.

Stages that resume, each from its folder of states: the autoencoder's encoder, its decoder, both on
ornaments, the words (the text encoder from captions), the diffusion (UNet and text encoder
together) on latents, the judge. When all are done the model is written and measured.

`train unpack decoder ornaments words diffusion judge write measure` goes on from the carried model
instead of from nothing; without `words diffusion judge` it mends the autoencoder alone.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from diffusers import AutoencoderKL

from lib_rimo.base_model.autoencoder import (
    GOING_ON_RATE,
    LEARNING_RATE,
    load_autoencoder,
    train_decoder,
    train_encoder,
    train_ornaments,
)
from lib_rimo.base_model.curves import read_curve, unpack_curves, write_curves
from lib_rimo.base_model.diffusion import Networks, Phase, train_diffusion, trained_checkpoint
from lib_rimo.base_model.evaluation import measure
from lib_rimo.base_model.judge_training import train_judge
from lib_rimo.base_model.parallel import Worker, run_workers
from lib_rimo.base_model.publish import publish
from lib_rimo.base_model.stage import Stage
from lib_rimo.base_model.words import train_words
from lib_rimo.sd.checkpoint import load_checkpoint
from lib_rimo.sd.embedded import MODEL

CAPTIONS = 200  # that the model is measured with
CURVES = ("encoder", "words", "diffusion", "decoder", "ornaments", "judge")
ENCODER_STEPS = (3500, 300)  # on crops, on whole pictures
WORDS_STEPS = 900
DECODER_STEPS = (2000, 150)  # on crops, on whole pictures
PHASES = [
    Phase(steps=1200, batch=16, shrink=2, chunks=16, chunk_every=100, noisiness=3),
    Phase(steps=2500, batch=8, shrink=1, chunks=28, chunk_every=100, decay=800, noisiness=2),
]
# From the carried model, on one core: a learning rate for small batches.
GOING_ON_WORDS_STEPS = 3200
GOING_ON_DECODER_STEPS = (700, 60)
ORNAMENTS_STEPS = (290, 30)  # on crops, on whole pictures
GOING_ON = [
    Phase(
        steps=1000, batch=8, shrink=2, chunks=12, chunk_every=150, noisiness=3, learning_rate=6e-4
    ),
    Phase(
        steps=1900, batch=8, shrink=1, chunks=14, chunk_every=150, decay=500, noisiness=2,
        learning_rate=6e-4,
    ),
]  # fmt: skip


def _autoencoder(work: Path) -> AutoencoderKL:
    """The autoencoder as the last stage of it that is done has left it."""
    for name in ("ornaments", "decoder", "encoder"):
        if model := load_autoencoder(Stage(work, name)):
            return model
    raise FileNotFoundError(f"no encoder in {work}: run the stage `encoder` first")


def _latents(work: Path) -> Stage:
    """The latents of the present encoder."""
    ornaments = Stage(work, "ornaments")
    return Stage(work, "latents-ornaments" if ornaments.has("final") else "latents")


def unpack_model(worker: Worker, work: Path) -> None:
    """Have the diffusion go on from the model that the project carries, on its latents."""
    if worker.leads:
        checkpoint = load_checkpoint(MODEL)
        networks = Networks()
        networks.unet, networks.text_encoder = checkpoint.unet, checkpoint.text_encoders[0]
        unpack_curves([Stage(work, name) for name in CURVES], MODEL.parent)
        diffusion = Stage(work, "diffusion")
        ((steps, _), *_) = reversed(read_curve(diffusion))
        diffusion.save({"networks": networks.state_dict(), "steps": steps}, "start")
        Stage(work, "words").save({"encoder": networks.text_encoder.state_dict()}, "start")
        Stage(work, "encoder").save({"model": checkpoint.vae.state_dict()}, "final")


def make_encoder(worker: Worker, work: Path) -> None:
    """Both halves of the autoencoder, without the level of full resolution."""
    train_encoder(worker, Stage(work, "encoder"), *ENCODER_STEPS)


def make_words(worker: Worker, work: Path) -> None:
    """The text encoder's first knowledge of words."""
    words = Stage(work, "words")
    train_words(worker, words, GOING_ON_WORDS_STEPS if words.has("start") else WORDS_STEPS)


def make_diffusion(worker: Worker, work: Path) -> None:
    """UNet and text encoder."""
    diffusion, words, latents = Stage(work, "diffusion"), Stage(work, "words"), _latents(work)
    phases = GOING_ON if diffusion.has("start") else PHASES
    train_diffusion(worker, diffusion, words, latents, _autoencoder(work), phases)


def make_decoder(worker: Worker, work: Path) -> None:
    """The decoder for pictures of full size."""
    decoder, encoder = Stage(work, "decoder"), Stage(work, "encoder")
    if Stage(work, "diffusion").has("start"):
        train_decoder(worker, decoder, encoder, *GOING_ON_DECODER_STEPS, GOING_ON_RATE)
    else:
        train_decoder(worker, decoder, encoder, *DECODER_STEPS, LEARNING_RATE)


def make_ornaments(worker: Worker, work: Path) -> None:
    """Both halves of a finished autoencoder on headphones."""
    ornaments = Stage(work, "ornaments")
    if not ornaments.has("final"):
        train_ornaments(worker, ornaments, _autoencoder(work), *ORNAMENTS_STEPS, GOING_ON_RATE)


def make_judge(worker: Worker, work: Path) -> None:
    """The judge."""
    train_judge(worker, Stage(work, "judge"), _autoencoder(work))


def write_model(worker: Worker, work: Path) -> None:
    """The model file from the states as they are."""
    if worker.leads:
        publish(trained_checkpoint(Stage(work, "diffusion"), _autoencoder(work)))
        write_curves([Stage(work, name) for name in CURVES], MODEL.parent)


def measure_model(worker: Worker, work: Path) -> None:
    """The written model's figures, and its sheet."""
    measure(worker, work, CAPTIONS)


STAGES: dict[str, Callable[[Worker, Path], None]] = {
    "unpack": unpack_model,
    "encoder": make_encoder,
    "decoder": make_decoder,
    "ornaments": make_ornaments,
    "words": make_words,
    "diffusion": make_diffusion,
    "judge": make_judge,
    "write": write_model,
    "measure": measure_model,
}


def make_base(worker: Worker, work: Path, stages: list[str]) -> None:
    """Run stages in order; those that are done return at once."""
    for name in stages:
        STAGES[name](worker, work)
        worker.wait()


def main() -> None:
    """Read the command line and start the processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "stages",
        nargs="*",
        metavar="STAGE",
        help=f"of: {', '.join(STAGES)}; default: all but the first",
    )
    parser.add_argument(
        "--work", type=Path, default=Path(".work/base"), help="folder of the states"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="one a core")
    options = parser.parse_args()
    unknown = set(options.stages) - set(STAGES)
    if unknown:
        parser.error(f"no such stage: {', '.join(sorted(unknown))}; there are {', '.join(STAGES)}")
    run_workers(make_base, options.processes, options.work, options.stages or list(STAGES)[1:])


if __name__ == "__main__":
    main()
