"""The exact commands under the report's figures."""

from __future__ import annotations

import shlex
from pathlib import Path

from lib_rimo.demo.studio import Studio
from lib_rimo.sd import embedded


def xyz_command(studio: Studio, lora: Path, prompt: str, *axes: str) -> str:
    """The command that draws these pictures as a plot; `axes` are X, Y, Z as `NAME: VALUES`."""
    look = studio.look
    parts = ["python -m lib_rimo xyz"]
    if studio.model.resolve() != embedded.MODEL:
        parts.append(f"--model {shlex.quote(str(studio.model))}")
    parts += [
        f"--lora-dir {shlex.quote(str(lora.parent))}",
        f"--size {look.size[0]}x{look.size[1]} --steps {look.steps} --cfg {look.cfg_scale:g}",
        f"--sampler {shlex.quote(look.sampler)}",
        f"--negative {shlex.quote(look.negative_prompt)}" if look.negative_prompt else "",
        f"--prompt {shlex.quote(prompt)}",
        *(f"--{letter} {shlex.quote(axis)}" for letter, axis in zip("xyz", axes, strict=False)),
    ]
    return " \\\n  ".join(filter(None, parts))


def seeds_axis(seeds: range) -> str:
    """All seeds as an axis."""
    return f"Seed: {seeds[0]}-{seeds[-1]}"
