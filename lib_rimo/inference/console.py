"""What the verbs that draw share: their options, and how these become settings and a model."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lib_rimo.errors import UserError
from lib_rimo.sd import embedded
from lib_rimo.sd.native import native_of
from lib_rimo.sd.size import Size
from lib_rimo.text import shortened

if TYPE_CHECKING:
    from lib_rimo.inference.generation import Generator
    from lib_rimo.inference.infotext import Settings
    from lib_rimo.weights.presets import Presets


def add_drawing_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of every verb that draws. Those left out are the prompt's or the defaults."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--prompt",
        help="the prompt with its <lora:...> tags, or a whole text from under a picture "
        '(prompt, "Negative prompt:", "Steps: ...")',
    )
    what.add_argument("--prompt-file", type=Path, metavar="FILE", help="the same, from a text file")
    parser.add_argument("--negative", help="negative prompt")
    parser.add_argument(
        "--model",
        type=Path,
        default=embedded.MODEL,
        metavar="FILE",
        help="SD1.x, SD2.x or SDXL single file (the bundled base model)",
    )
    parser.add_argument(
        "--lora-dir",
        type=Path,
        default=Path("output"),
        metavar="DIR",
        help="folder of the LoRAs that tags name (output, where train writes)",
    )
    parser.add_argument(
        "--presets",
        type=Path,
        metavar="DIR",
        help="folder with lbwpresets.txt, for names of block weights besides the built-in ones",
    )
    parser.add_argument("--steps", type=int, help="sampling steps (20)")
    parser.add_argument("--sampler", help='"DPM++ 2M Karras", "Euler a", "Euler" or "DDIM"')
    parser.add_argument("--cfg", type=float, metavar="SCALE", help="CFG scale (7)")
    parser.add_argument("--seed", type=int, help="seed of the first picture, -1 for any (1)")
    parser.add_argument(
        "--size", metavar="WxH", help="width and height, as in 448x704 (the model's)"
    )
    parser.add_argument(
        "--clip-skip",
        type=int,
        metavar="N",
        help="SD1: layer of the text encoder, from the end (1)",
    )
    parser.add_argument(
        "--quantize-timesteps",
        action=argparse.BooleanOptionalAction,
        help="whole timesteps for the UNet, as in all Forges (as the text's Version says)",
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps (the best there is)")
    parser.add_argument(
        "--precision", choices=("fp32", "fp16", "bf16"), help="of the model (fp16 on a GPU)"
    )


def positive(text: str) -> int:
    """The type of options that count something; a ValueError for what nobody counts to."""
    number = int(text)
    if not 1 <= number <= 1_000_000:
        raise ValueError
    return number


def read_settings(arguments: argparse.Namespace) -> tuple[Settings, dict[str, str]]:
    """The settings that prompt and options give, and the fields that are none (as axes)."""
    from lib_rimo.inference.infotext import (
        Settings,
        check_settings,
        fields_left_out,
        parse_infotext,
        parse_size,
    )
    from lib_rimo.weights.record import WEIGHTS_KEY, restore

    text = arguments.prompt
    if text is None:
        text = _read_text(arguments.prompt_file)
    own = own_size(arguments.model) or (Settings.width, Settings.height)
    usual = Settings(width=own[0], height=own[1])
    settings, fields = parse_infotext(text, usual, typed=arguments.prompt is not None)
    width, height = parse_size(arguments.size) if arguments.size else (None, None)
    given = {
        "negative_prompt": arguments.negative,
        "steps": arguments.steps,
        "sampler": arguments.sampler,
        "schedule": "" if arguments.sampler else None,
        "cfg_scale": arguments.cfg,
        "seed": arguments.seed,
        "clip_skip": arguments.clip_skip,
        "quantize_timesteps": arguments.quantize_timesteps,
        "width": width,
        "height": height,
    }
    if "Size" in fields and not arguments.size:
        print(f"The text says {fields['Size']}; drawn at {settings.width}x{settings.height}.")
    if WEIGHTS_KEY in fields:  # the numbers of presets and draws that may be others here
        settings = replace(settings, prompt=restore(settings.prompt, fields[WEIGHTS_KEY]))
    left_out = fields_left_out(fields)
    if left_out:
        print(f"Left out, as nothing here draws them: {shortened(', '.join(left_out), 300)}.")
    named = fields.get("Model", arguments.model.stem)
    if named != arguments.model.stem:
        print(f"The text names the model {named}; drawn with {arguments.model.stem}.")
    settings = replace(settings, **{k: v for k, v in given.items() if v is not None})
    check_settings(settings)
    return settings, fields


def own_size(model: Path) -> Size | None:
    """Width and height of what a model draws well; None where its file does not tell."""
    try:
        return native_of(model).size
    except UserError:  # a pickled file, or one that loading will have more to say of
        return None


def read_presets(arguments: argparse.Namespace) -> Presets:
    """The built-in presets and those of the folder that was given."""
    from lib_rimo.weights.presets import load_presets

    return load_presets([arguments.presets] if arguments.presets else [])


def open_generator(arguments: argparse.Namespace, presets: Presets) -> Generator:
    """Load the model onto its device."""
    from tqdm import tqdm

    from lib_rimo.inference.apply import LoraFolder
    from lib_rimo.inference.device import choose_device
    from lib_rimo.inference.generation import Generator
    from lib_rimo.sd.checkpoint import load_checkpoint

    device, dtype = choose_device(arguments.device, arguments.precision)
    print(f"Loading {arguments.model.name} ...", flush=True)
    checkpoint = load_checkpoint(arguments.model, device=device, dtype=dtype)
    return Generator(
        checkpoint,
        LoraFolder(arguments.lora_dir),
        presets=presets,
        tell=lambda message: tqdm.write(message.text()),
    )


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            "The prompt file {file} cannot be read ({error}).", file=path, error=error
        ) from error
