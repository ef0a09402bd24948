"""Make the base model again from nothing: `python -m lib_rimo.base_model.train`.

Stages that resume, each from its folder of states: the autoencoder's encoder, its decoder, both on
ornaments, the words (the text encoder from captions), the diffusion (UNet and text encoder
together) on latents, the judge. When all are done the model is written and measured.

`train unpack decoder ornaments words diffusion judge write measure` goes on from the carried model
instead of from nothing; without `words diffusion judge` it mends the autoencoder alone.

`--family sdxl` makes an SDXL model out of the carried SD1 one: a transplant of all that both have,
which the diffusion then trains on.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
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
from lib_rimo.base_model.diffusion import Phase, train_diffusion, trained_checkpoint
from lib_rimo.base_model.evaluation import measure
from lib_rimo.base_model.judge_training import train_judge
from lib_rimo.base_model.latents import load_chunk
from lib_rimo.base_model.networks import Networks
from lib_rimo.base_model.parallel import Worker, run_workers
from lib_rimo.base_model.publish import publish
from lib_rimo.base_model.stage import Stage
from lib_rimo.base_model.transplant import transplant
from lib_rimo.base_model.words import train_words
from lib_rimo.sd.checkpoint import load_checkpoint
from lib_rimo.sd.embedded import MODEL, MODELS
from lib_rimo.sd.family import Family

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
TRANSPLANTED = [
    Phase(
        steps=2000, batch=8, shrink=1, chunks=28, chunk_every=150, decay=500, noisiness=2,
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
        networks.unet, networks.text_encoders[0] = checkpoint.unet, checkpoint.text_encoders[0]
        unpack_curves([Stage(work, name) for name in CURVES], MODEL.parent)
        diffusion = Stage(work, "diffusion")
        ((steps, _), *_) = reversed(read_curve(diffusion))
        diffusion.save({"networks": networks.state_dict(), "steps": steps}, "start")
        Stage(work, "words").save({"encoder": networks.text_encoders[0].state_dict()}, "start")
        Stage(work, "encoder").save({"model": checkpoint.vae.state_dict()}, "final")


def transplant_model(worker: Worker, work: Path) -> None:
    """Have SDXL's diffusion begin from what it can have of the carried model."""
    if worker.leads:
        checkpoint = load_checkpoint(MODEL)
        chunk = load_chunk(_latents(work), checkpoint.vae, 0)
        networks, left = transplant(checkpoint, chunk)
        for name, share in left.after.items():
            print(f"{name}: {left.before[name]:.3f} of the variance unexplained, then {share:.3f}")
        Stage(work, "diffusion").save({"networks": networks.state_dict(), "steps": 0}, "start")
        Stage(work, "encoder").save({"model": checkpoint.vae.state_dict()}, "final")


def make_encoder(worker: Worker, work: Path) -> None:
    """Both halves of the autoencoder, without the level of full resolution."""
    train_encoder(worker, Stage(work, "encoder"), *ENCODER_STEPS)


def make_words(worker: Worker, work: Path) -> None:
    """The text encoder's first knowledge of words."""
    words = Stage(work, "words")
    train_words(worker, words, GOING_ON_WORDS_STEPS if words.has("start") else WORDS_STEPS)


def make_diffusion(worker: Worker, work: Path, family: Family = "sd1") -> None:
    """UNet and text encoders."""
    diffusion, words, latents = Stage(work, "diffusion"), Stage(work, "words"), _latents(work)
    phases = PLANS[family].going_on if diffusion.has("start") else PHASES
    train_diffusion(worker, diffusion, words, latents, _autoencoder(work), phases, family)


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
    trained = trained_checkpoint(Stage(work, "diffusion"), _autoencoder(work))
    train_judge(worker, Stage(work, "judge"), trained)


def write_model(worker: Worker, work: Path, family: Family = "sd1") -> None:
    """The model file from the states as they are."""
    if worker.leads:
        trained = trained_checkpoint(Stage(work, "diffusion"), _autoencoder(work), family)
        publish(trained, MODELS[family])
        if family == "sd1":
            write_curves([Stage(work, name) for name in CURVES], MODEL.parent)


def measure_model(worker: Worker, work: Path, family: Family = "sd1") -> None:
    """The written model's figures, and its sheet."""
    measure(worker, work, CAPTIONS, family=family)


@dataclass(frozen=True)
class Plan:
    """How a family's model is made."""

    stages: Mapping[str, Callable[[Worker, Path], None]]
    by_default: Sequence[str]
    going_on: Sequence[Phase]
    """What the diffusion does where it has something to start from."""
    work: Path


FROM_NOTHING: dict[str, Callable[[Worker, Path], None]] = {
    "encoder": make_encoder,
    "decoder": make_decoder,
    "ornaments": make_ornaments,
    "words": make_words,
    "diffusion": make_diffusion,
    "judge": make_judge,
    "write": write_model,
    "measure": measure_model,
}
FROM_SD1: dict[str, Callable[[Worker, Path], None]] = {
    "transplant": transplant_model,
    "diffusion": partial(make_diffusion, family="sdxl"),
    "write": partial(write_model, family="sdxl"),
    "measure": partial(measure_model, family="sdxl"),
}
PLANS: dict[Family, Plan] = {
    "sd1": Plan(
        {"unpack": unpack_model, **FROM_NOTHING}, list(FROM_NOTHING), GOING_ON, Path(".work/base")
    ),
    "sdxl": Plan(FROM_SD1, list(FROM_SD1), TRANSPLANTED, Path(".work/base-sdxl")),
}


def make_base(worker: Worker, work: Path, family: Family, stages: Sequence[str]) -> None:
    """Run stages in order; those that are done return at once."""
    for name in stages:
        PLANS[family].stages[name](worker, work)
        worker.wait()


def main() -> None:
    """Read the command line and start the processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "stages",
        nargs="*",
        metavar="STAGE",
        help=f"of: {', '.join(PLANS['sd1'].stages)}; default: all but the first. "
        f"For SDXL: {', '.join(PLANS['sdxl'].stages)}; default: all",
    )
    parser.add_argument("--family", choices=PLANS, default="sd1")
    parser.add_argument(
        "--work", type=Path, help="folder of the states; default: .work/base or .work/base-sdxl"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="one a core")
    options = parser.parse_args()
    plan = PLANS[options.family]
    if unknown := set(options.stages) - set(plan.stages):
        there = ", ".join(plan.stages)
        parser.error(f"no such stage: {', '.join(sorted(unknown))}; there are {there}")
    work, stages = options.work or plan.work, options.stages or plan.by_default
    run_workers(make_base, options.processes, work, options.family, stages)


if __name__ == "__main__":
    main()
