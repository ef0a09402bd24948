"""What the verbs that search share: their options, and how these become trials with a pace."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lib_rimo.errors import UserError
from lib_rimo.inference.console import positive
from lib_rimo.sd import embedded
from lib_rimo.training.events import Events, print_json

if TYPE_CHECKING:
    from lib_rimo.scoring.asking import AskingDrawer
    from lib_rimo.scoring.finding import Finding
    from lib_rimo.scoring.trials import Drawer, Trials
    from lib_rimo.sd.checkpoint import Checkpoint
    from lib_rimo.sd.size import Size

Found = TypeVar("Found")

PROMPTS = (
    "1girl, solo, standing, outdoors",
    "1girl, solo, sitting, school uniform, indoors, classroom",
    "1girl, solo, standing, t-shirt, outdoors, beach",
    "1girl, solo, standing, maid, maid headdress, outdoors, night",
)
"""Places and clothes that training pictures rarely have; words that every booru model knows."""


def add_search_arguments(parser: argparse.ArgumentParser, seeds: int) -> None:
    """Which LoRA, what it was trained on, and what is drawn with it."""
    parser.add_argument("name", help="the LoRA, without ending and step")
    parser.add_argument(
        "--pictures", type=Path, metavar="DIR", help="the training pictures (as the training had)"
    )
    parser.add_argument("--model", type=Path, default=embedded.MODEL, metavar="FILE")
    parser.add_argument("--lora-dir", type=Path, default=Path("output"), metavar="DIR")
    parser.add_argument(
        "--prompt", action="append", help="without a LoRA tag; may be given several times"
    )
    parser.add_argument("--negative", default="", help="negative prompt")
    parser.add_argument("--trigger-word", default="", metavar="WORD", help="put before each prompt")
    parser.add_argument(
        "--seeds", type=positive, default=seeds, help=f"pictures of a prompt, at most ({seeds})"
    )
    parser.add_argument("--steps", type=positive, default=20, help="sampling steps (20)")
    parser.add_argument("--sampler", default="DPM++ 2M", help="as the WebUI names it (DPM++ 2M)")
    parser.add_argument("--cfg", type=float, default=7.0, metavar="SCALE", help="CFG scale (7)")
    parser.add_argument("--size", metavar="WxH", help="width and height (the training's)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps (the best there is)")
    parser.add_argument("--precision", choices=("fp32", "fp16", "bf16"))
    parser.add_argument("--out", type=Path, metavar="DIR", help="where pictures and results go")
    # The process that started this one draws: see lib_rimo/scoring/asking.py.
    parser.add_argument("--ask", metavar="IDENTITY", help=argparse.SUPPRESS)


class Session:
    """The base model, who draws, and the pace, for one search.

    To a person it shows a bar; to a program that draws for it, events as lines of JSON.
    """

    def __init__(self, arguments: argparse.Namespace, folder: Path, loras: Sequence[Path]) -> None:
        from tqdm import tqdm

        from lib_rimo.inference.apply import load_lora
        from lib_rimo.inference.device import choose_device, choose_device_beside
        from lib_rimo.scoring.encoder import PictureEncoder
        from lib_rimo.scoring.pace import Pace
        from lib_rimo.scoring.references import fitted, read_references
        from lib_rimo.scoring.scorer import words_of
        from lib_rimo.sd.checkpoint import load_checkpoint

        self.folder, self._asked = folder, arguments.ask is not None
        self._events = Events(print_json)
        self._bar = None if self._asked else tqdm(unit="picture", disable=None)
        for lora in loras:
            load_lora(lora)  # or says what is wrong with it, before anything is drawn
        pictures, size = _training(arguments)
        self._references = [fitted(found, size) for found in read_references(pictures)]
        self._say(f"Loading {arguments.model.name} ...")
        if self._asked:  # the program that asks holds the model too
            device, dtype = choose_device_beside(arguments.model)
        else:
            device, dtype = choose_device(arguments.device, arguments.precision)
        checkpoint = load_checkpoint(arguments.model, device=device, dtype=dtype)
        self._encoder = PictureEncoder(checkpoint)
        self._trigger_word = arguments.trigger_word
        self._pace = Pace(self._tell)
        self._asking: AskingDrawer | None = None
        self._drawer = self._open_drawer(arguments, checkpoint, size)
        self.prompts = arguments.prompt or list(PROMPTS)
        if word := arguments.trigger_word:
            self.prompts = [
                prompt if word in words_of(prompt) else f"{word}, {prompt}"
                for prompt in self.prompts
            ]

    def trials(self, seeds: Sequence[int]) -> Trials:
        """Trials over these seeds; pictures and scores of all of them lie in one folder."""
        from lib_rimo.scoring.scorer import Scorer
        from lib_rimo.scoring.trials import Trials

        scorer = Scorer(self._encoder, self._references, {self._trigger_word})
        return Trials(self.folder, self._drawer, scorer, self.prompts, seeds, self._pace.look)

    def begin(self, pictures: int, trials: Trials) -> None:
        """Say how many pictures it will be and how long it takes, by two that are drawn first.

        A program is waited for: it answers once its user wants that.
        """
        self._pace.total = pictures
        first, *others = trials.shots
        trials.picture(None, *first)
        if others:
            self._pace.begin_anew()
            trials.picture(None, *others[0])
        left = self._pace.seconds_left
        if self._asking is not None:
            self._events.emit("plan", pictures=pictures, seconds=left)
            self._asking.wait()
            self._pace.wait()
        else:
            time = "" if left is None else f", about {max(1, round(left / 60))} min"
            self._say(f"{pictures} pictures at most{time}. Ctrl+C keeps the best so far.")

    def attempt(self, search: Callable[[], Found]) -> Found | None:
        """What a search finds; None where Ctrl+C, or a program's wish, ended it before."""
        from lib_rimo.scoring.asking import StopSearchError

        try:
            return search()
        except (KeyboardInterrupt, StopSearchError):
            self._say("Stopped; the same command goes on from here. The best so far:")
            return None

    def end(self, finding: Finding) -> None:
        """Tell what was found."""
        file = finding.write(self.folder)
        if self._bar is not None:
            self._bar.close()
        if self._asked:
            self._events.emit("result", file=str(file))
        else:
            print(finding.text())

    def _open_drawer(
        self, arguments: argparse.Namespace, checkpoint: Checkpoint, size: Size
    ) -> Drawer:
        from lib_rimo.inference.apply import LoraFolder
        from lib_rimo.inference.generation import Generator
        from lib_rimo.inference.infotext import Settings
        from lib_rimo.scoring.asking import AskingDrawer
        from lib_rimo.scoring.drawing import GeneratorDrawer

        if self._asked:
            self._asking = AskingDrawer(arguments.ask)
            return self._asking
        settings = Settings(
            negative_prompt=arguments.negative,
            steps=arguments.steps,
            sampler=arguments.sampler,
            cfg_scale=arguments.cfg,
            width=size[0],
            height=size[1],
        )
        generator = Generator(checkpoint, LoraFolder(arguments.lora_dir))
        return GeneratorDrawer(generator, settings)

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.write(text)

    def _tell(self, done: int, total: int, seconds_left: float | None) -> None:
        if self._bar is not None:
            self._bar.total = total
            self._bar.update(done - self._bar.n)
        else:
            self._events.emit("progress", done=done, total=total, seconds_left=seconds_left)


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
