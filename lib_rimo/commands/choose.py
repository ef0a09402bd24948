"""Find out which saved step of a training, at which strength, serves best.

Every saved step is drawn at several strengths and scored by the base model itself: fit, how much it
is the character of the training pictures, and keeping, how much of what the prompt says beside her
is still in the picture. Few pictures first, more of what is still in the running. Pictures are
kept: an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lib_rimo.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lib_rimo.scoring.choice import Choice, State

HELP = "which saved step at which strength serves best"

PROMPTS = (
    "1girl, solo, standing, outdoors",
    "1girl, solo, sitting, school uniform, indoors, classroom",
    "1girl, solo, standing, t-shirt, outdoors, beach",
    "1girl, solo, standing, maid, maid headdress, outdoors, night",
)
"""Places and clothes that training pictures rarely have; words that every booru model knows."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which LoRA, what it was trained on, and what is drawn with it."""
    from lib_rimo.inference.console import positive
    from lib_rimo.sd import embedded

    parser.add_argument("name", help="the LoRA, without ending and step")
    parser.add_argument(
        "--pictures", type=Path, metavar="DIR", help="the training pictures (as the training had)"
    )
    parser.add_argument("--model", type=Path, default=embedded.MODEL, metavar="FILE")
    parser.add_argument("--lora-dir", type=Path, default=Path("output"), metavar="DIR")
    parser.add_argument(
        "--strengths", default="0.6,0.8,1", help="strengths to try, with commas (0.6,0.8,1)"
    )
    parser.add_argument(
        "--prompt", action="append", help="without a LoRA tag; may be given several times"
    )
    parser.add_argument("--negative", default="", help="negative prompt")
    parser.add_argument("--trigger-word", default="", metavar="WORD", help="put before each prompt")
    parser.add_argument("--seeds", type=positive, default=4, help="pictures of a prompt, at most")
    parser.add_argument("--steps", type=positive, default=20, help="sampling steps (20)")
    parser.add_argument("--cfg", type=float, default=7.0, metavar="SCALE", help="CFG scale (7)")
    parser.add_argument("--size", metavar="WxH", help="width and height (the training's)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps (the best there is)")
    parser.add_argument("--precision", choices=("fp32", "fp16", "bf16"))
    parser.add_argument("--out", type=Path, metavar="DIR", help="where pictures go (NAME.choice)")


def run(arguments: argparse.Namespace) -> int:
    """Try all states; print a table and the winner's tag, and write a strip of pictures."""
    from tqdm import tqdm

    from lib_rimo.scoring.choice import saved_files, states_of, table

    files = saved_files(arguments.lora_dir, arguments.name)
    states = states_of(files, _strengths(arguments.strengths))
    folder = arguments.out or arguments.lora_dir / f"{arguments.name}.choice"
    with tqdm(total=0, unit="picture") as bar:
        choice = _choice(arguments, folder, bar.update)
        bar.reset(total=choice.pictures_needed(len(states)))
        try:
            results = choice.run(states)
        except KeyboardInterrupt:
            results = choice.results
            tqdm.write("Stopped; the same command goes on from here. The best so far:")
    if not results:
        return 130
    print(table(results))
    last = states_of(files[-1:], [1.0])[0]
    strip = _write_strip(choice, folder / "strip.png", results[0].state, last)
    print(f"\nBest: {results[0].state.tag}\n{strip}")
    return 0


def _strengths(text: str) -> list[float]:
    try:
        strengths = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise UserError(f'--strengths "{text}" are no numbers; write them as 0.6,0.8,1.') from error
    if not all(0 < abs(strength) < 100 for strength in strengths):
        raise UserError("--strengths are numbers such as 0.6,0.8,1; 0 would draw without the LoRA.")
    return strengths


def _training(arguments: argparse.Namespace) -> tuple[Path, tuple[int, int]]:
    """The folder of training pictures and the size to draw at: as given, else as trained."""
    from lib_rimo.sd.size import parse_resolution
    from lib_rimo.training.config.job_file import read_job

    folder, size = arguments.pictures, arguments.size
    job = arguments.lora_dir / f"{arguments.name}.job" / "options.json"
    if job.exists() and (folder is None or size is None):
        options, _ = read_job(job)
        folder = folder or Path(options.train_data_dir)
        size = size or options.resolution
    if folder is None:
        raise UserError("Say what the LoRA was trained on: add --pictures FOLDER.")
    return folder, parse_resolution((size or "512").lower().replace("x", ","))


def _write_strip(choice: Choice, file: Path, winner: State, last: State) -> Path:
    """The base alone, the winner and the last step at strength 1, a column a prompt."""
    from lib_rimo.files import written_beside
    from lib_rimo.inference.grid import draw_grid

    rows = {"without": None, winner.tag: winner, last.tag: last}
    pictures = [picture for state in rows.values() for picture in choice.pictures(state)]
    with written_beside(file) as beside:
        draw_grid(pictures, choice.prompts, list(rows)).save(beside, format="PNG")
    return file


def _choice(
    arguments: argparse.Namespace,
    folder: Path,
    on_picture: Callable[[int], object],
) -> Choice:
    """Everything that is needed, loaded."""
    from lib_rimo.inference.apply import LoraFolder
    from lib_rimo.inference.console import choose_device
    from lib_rimo.inference.generation import Generator
    from lib_rimo.inference.infotext import Settings
    from lib_rimo.scoring.choice import Choice
    from lib_rimo.scoring.drawing import GeneratorDrawer
    from lib_rimo.scoring.encoder import PictureEncoder
    from lib_rimo.scoring.references import fitted, read_references
    from lib_rimo.scoring.scorer import Scorer
    from lib_rimo.sd.checkpoint import load_checkpoint

    pictures, (width, height) = _training(arguments)
    references = [fitted(found, (width, height)) for found in read_references(pictures)]
    device, dtype = choose_device(arguments.device, arguments.precision)
    print(f"Loading {arguments.model.name} ...", flush=True)
    checkpoint = load_checkpoint(arguments.model, device=device, dtype=dtype)
    settings = Settings(
        negative_prompt=arguments.negative,
        steps=arguments.steps,
        cfg_scale=arguments.cfg,
        width=width,
        height=height,
    )
    generator = Generator(checkpoint, LoraFolder(arguments.lora_dir))
    prompts = arguments.prompt or list(PROMPTS)
    if arguments.trigger_word:
        prompts = [f"{arguments.trigger_word}, {prompt}" for prompt in prompts]
    scorer = Scorer(PictureEncoder(checkpoint), references, {arguments.trigger_word})
    drawer = GeneratorDrawer(generator, settings)
    return Choice(folder, drawer, scorer, prompts, range(1, arguments.seeds + 1), on_picture)
