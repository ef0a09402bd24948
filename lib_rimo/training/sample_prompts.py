"""What to draw on the way: sample prompts as kohya's trainer reads them.

A text is a prompt a line, with letters behind it: `--n` negative prompt, `--w`, `--h`, `--s` steps,
`--l` CFG scale, `--d` seed, `--ss` sampler. A .toml holds `[prompt]` with what all have in common
and `[[prompt.subset]]`, a .json a list of tables.
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lib_rimo.errors import UserError
from lib_rimo.inference.infotext import Settings
from lib_rimo.messages import Tell, as_warning
from lib_rimo.sd.size import parse_resolution, whole_cells
from lib_rimo.text import parse_json
from lib_rimo.training.config.documents import read_mapping
from lib_rimo.training.config.options import TrainingOptions

STEPS = 20

# kohya's samplers by the WebUI's names; those that are not here are drawn by the nearest of them.
SAMPLERS = {
    "ddim": "DDIM",
    "pndm": "DDIM",
    "euler": "Euler",
    "k_euler": "Euler",
    "lms": "Euler",
    "k_lms": "Euler",
    "heun": "Euler",
    "euler_a": "Euler a",
    "k_euler_a": "Euler a",
    "dpm_2_a": "Euler a",
    "k_dpm_2_a": "Euler a",
    "dpm_2": "DPM++ 2M",
    "k_dpm_2": "DPM++ 2M",
    "dpmsolver": "DPM++ 2M",
    "dpmsolver++": "DPM++ 2M",
    "dpmsingle": "DPM++ 2M",
}
_TABLE = {
    "negative_prompt": "n",
    "width": "w",
    "height": "h",
    "sample_steps": "s",
    "scale": "l",
    "seed": "d",
    "sample_sampler": "ss",
}


def sample_settings(
    options: TrainingOptions, captions: list[str], tell: Tell | None = None
) -> list[Settings]:
    """What to draw: prompts from a file or the option's own text, else the first caption.

    Raises UserError, naming the prompt or the file; with a `tell` a prompt that cannot be read is
    told of and left out.
    """
    width, height = parse_resolution(options.resolution)
    usual = Settings(
        prompt="",
        width=width,
        height=height,
        steps=STEPS,
        seed=options.seed,
        clip_skip=options.clip_skip,
    )
    if options.sample_sampler:
        usual = replace(usual, sampler=SAMPLERS[options.sample_sampler])
    prompts = _prompts(options.sample_prompts) or captions[:1]
    settings = []
    for prompt in prompts:
        try:
            settings.append(_settings(prompt, usual))
        except UserError as error:
            if tell is None:
                raise
            for message in error.messages:
                tell(as_warning(message))
    return settings


def _prompts(text: str) -> list[str | Mapping[str, Any]]:
    """Lines of text, or tables of a .toml or .json."""
    path = Path(text) if "\n" not in text and len(text) < 4096 else Path()
    suffix = path.suffix.lower()
    if suffix == ".toml":
        return _of_toml(path)
    if suffix in (".txt", ".json"):
        text = _read(path)
    if suffix == ".json":
        return _of_json(text, path.name)
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(
            "sample_prompts {file} cannot be read ({reason}): check the path.",
            file=path,
            reason=error.strerror,
        ) from None
    except UnicodeDecodeError:
        raise UserError(
            "sample_prompts {file} is not UTF-8 text; save it as UTF-8.", file=path
        ) from None


def _of_toml(path: Path) -> list[str | Mapping[str, Any]]:
    prompt = read_mapping(path).get("prompt", {})
    if isinstance(prompt, Mapping):
        common = {name: value for name, value in prompt.items() if name != "subset"}
        subsets = prompt.get("subset", [common] if "prompt" in common else [])
        if isinstance(subsets, list) and all(isinstance(part, Mapping) for part in subsets):
            return [{**common, **subset} for subset in subsets]
    raise UserError(
        "{file} names no prompts: write [prompt] and [[prompt.subset]].", file=path.name
    )


def _of_json(text: str, name: str) -> list[str | Mapping[str, Any]]:
    try:
        prompts = parse_json(text)
    except ValueError as error:
        raise UserError("{file} is not valid: {error}.", file=name, error=error) from None
    if isinstance(prompts, list) and all(isinstance(part, (str, Mapping)) for part in prompts):
        return prompts
    raise UserError(
        "{file} names no prompts: write a list of tables, each with a prompt.", file=name
    )


def _settings(prompt: str | Mapping[str, Any], usual: Settings) -> Settings:
    """The settings of a line with letters behind the prompt, or of a table."""
    if isinstance(prompt, str):
        words, *rest = re.split(r"\s(?=--(?:[a-z]|ss)\s)", prompt.strip(), maxsplit=1)
        try:
            arguments = shlex.split(rest[0]) if rest else []
        except ValueError as error:
            raise UserError(
                "The sample prompt {prompt} cannot be read: {error}.",
                prompt=repr(prompt),
                error=error,
            ) from None
    else:
        words = str(prompt.get("prompt", ""))
        letters = [(letter, prompt[name]) for name, letter in _TABLE.items() if name in prompt]
        arguments = [word for letter, value in letters for word in (f"--{letter}", str(value))]
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--n", nargs="*", default=[])
    for letter, default in (("w", usual.width), ("h", usual.height), ("s", usual.steps)):
        parser.add_argument(f"--{letter}", type=int, default=default)
    parser.add_argument("--d", type=int, default=usual.seed)
    parser.add_argument("--l", type=float, default=usual.cfg_scale)
    parser.add_argument("--ss", choices=SAMPLERS)
    try:
        given, _ = parser.parse_known_args(arguments)
    except (argparse.ArgumentError, ValueError) as error:
        raise UserError(
            "The sample prompt {prompt} cannot be read: {error}.", prompt=repr(prompt), error=error
        ) from None
    width, height = whole_cells((given.w, given.h))
    return replace(
        usual,
        prompt=words,
        negative_prompt=" ".join(given.n),
        width=width,
        height=height,
        seed=given.d,
        steps=given.s,
        cfg_scale=given.l,
        sampler=SAMPLERS[given.ss] if given.ss else usual.sampler,
    )
