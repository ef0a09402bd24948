"""Make the base model again from nothing: `python -m lib_rimo.demo.train_base`.

Stages that resume, each from its folder of states: the encoder, the diffusion (UNet and text
encoder together) on its latents, the decoder, the judge. When all are done the model is written
and measured.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from diffusers import AutoencoderKL

from lib_rimo.demo.autoencoder import load_autoencoder, train_decoder, train_encoder
from lib_rimo.demo.curves import write_curves
from lib_rimo.demo.diffusion import Phase, train_diffusion, trained_checkpoint
from lib_rimo.demo.evaluation import measure
from lib_rimo.demo.judge_training import train_judge
from lib_rimo.demo.parallel import Worker, run_workers
from lib_rimo.demo.publish import MODEL, publish
from lib_rimo.demo.stage import Stage

CAPTIONS = 160  # that the model is measured with
CURVES = ("encoder", "decoder-half", "decoder", "diffusion", "judge")
ENCODER_STEPS = 500
DECODER_STEPS = (180, 170)  # at half the size, whole
PHASES = [
    Phase(steps=650, batch=16, shrink=2, chunks=8, chunk_every=150),
    Phase(steps=9000, batch=8, shrink=1, chunks=12, chunk_every=100, decay=1800),
]


def _autoencoder(work: Path) -> AutoencoderKL:
    """The autoencoder, with its refined decoder once there is one."""
    model = load_autoencoder(Stage(work, "decoder")) or load_autoencoder(Stage(work, "encoder"))
    if model is None:
        raise FileNotFoundError(f"no encoder in {work}: run the stage `encoder` first")
    return model


def make_encoder(worker: Worker, work: Path) -> None:
    """The encoder, and a decoder for pictures of half the size."""
    train_encoder(worker, Stage(work, "encoder"), ENCODER_STEPS)


def make_diffusion(worker: Worker, work: Path) -> None:
    """UNet and text encoder."""
    diffusion, latents = Stage(work, "diffusion"), Stage(work, "latents")
    train_diffusion(worker, diffusion, latents, _autoencoder(work), PHASES)


def make_decoder(worker: Worker, work: Path) -> None:
    """The decoder for pictures of full size."""
    encoder, half, whole = (Stage(work, name) for name in ("encoder", "decoder-half", "decoder"))
    train_decoder(worker, half, encoder, DECODER_STEPS[0], whole=False)
    train_decoder(worker, whole, half, DECODER_STEPS[1], whole=True)


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
    "encoder": make_encoder,
    "diffusion": make_diffusion,
    "decoder": make_decoder,
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
        "stages", nargs="*", metavar="STAGE", help=f"of: {', '.join(STAGES)}; default: all"
    )
    parser.add_argument(
        "--work", type=Path, default=Path(".work/base"), help="folder of the states"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="one a core")
    options = parser.parse_args()
    unknown = set(options.stages) - set(STAGES)
    if unknown:
        parser.error(f"no such stage: {', '.join(sorted(unknown))}; there are {', '.join(STAGES)}")
    run_workers(make_base, options.processes, options.work, options.stages or list(STAGES))


if __name__ == "__main__":
    main()
