"""Where the reproduction trains, draws and looks: everything made is kept and found again.

A picture's file is named by a digest of all that it depends on (model, LoRA, settings), a LoRA's
folder by one of its recipe, pictures and model. So whatever was interrupted goes on, picture by
picture, and what has not changed is never made twice.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image

from lib_rimo import training
from lib_rimo.demo.prompts import NEGATIVE
from lib_rimo.demo.recipe import Recipe
from lib_rimo.demo.tasks import Advance, Workers
from lib_rimo.files import file_hash
from lib_rimo.inference.apply import LoraFolder
from lib_rimo.inference.generation import Generator
from lib_rimo.inference.infotext import Settings, format_infotext, save_png
from lib_rimo.inference.prompt import encode_prompt, joined
from lib_rimo.inference.sampling import GuidedModel, SeededNoise, find_sampler, sample
from lib_rimo.messages import Message
from lib_rimo.sd import embedded
from lib_rimo.sd.checkpoint import load_checkpoint
from lib_rimo.sd.size import LATENT_PIXELS
from lib_rimo.training.augment.augmentation import augment
from lib_rimo.training.config.job_file import training_folder
from lib_rimo.training.config.options import TrainingOptions
from lib_rimo.training.data.image_files import open_image
from lib_rimo.training.events import Event, read_events
from lib_rimo.training.jobs.job import run_job
from lib_rimo.weights.tags import parse_prompt

BATCH = 8  # pictures drawn at a time
AUGMENTING = Path(training.__file__).parent
"""The code that makes training pictures, masks and captions: by other code they may differ."""


@dataclass(frozen=True)
class Look:
    """How all pictures are drawn; the author draws with 40 to 50 steps."""

    steps: int = 20
    cfg_scale: float = 7.0
    sampler: str = "DPM++ 2M Karras"
    negative_prompt: str = NEGATIVE
    size: tuple[int, int] = embedded.RESOLUTION

    def settings(self, prompt: str, seed: int) -> Settings:
        """The settings of one picture."""
        sampler, schedule = find_sampler(self.sampler)
        return Settings(
            prompt,
            self.negative_prompt,
            steps=self.steps,
            sampler=sampler,
            schedule=schedule,
            cfg_scale=self.cfg_scale,
            seed=seed,
            width=self.size[0],
            height=self.size[1],
        )


@dataclass(frozen=True)
class Shot:
    """A picture to be drawn; the prompt's tag names `lora`, if there is one."""

    prompt: str
    seed: int
    lora: Path | None = None


def numbered_shots(prompts: Iterable[str], lora: Path | None) -> list[Shot]:
    """A picture of each prompt: of seed 1, 2, and so on, the same seeds whatever the LoRA.

    The noise decides what a prompt leaves open, a background above all. With a few seeds for all
    prompts many pictures would be of few noises, and their 95 % range too narrow.
    """
    return [Shot(prompt, seed, lora) for seed, prompt in enumerate(prompts, start=1)]


@dataclass(frozen=True)
class Seen:
    """What the judge sees in a picture."""

    outfit: str
    pose: str
    place: str
    identity: float  # 0 nothing of rimochan .. 1 all of her
    detail: float  # of the background: 0 flat .. about 1 crowded
    plain: bool = False  # whether the background is one colour
    hair: float = 0.0  # her silver, and so on: what `identity` is the mean of, each 0..1
    twintails: float = 0.0
    tips: float = 0.0
    eyes: float = 0.0
    ornament: float = 0.0
    cloth_colour: str = ""


class Judge(Protocol):
    """Looks at pictures; `name` changes whenever it would see something else."""

    name: str

    def look(self, images: Sequence[Image.Image]) -> list[Seen]:
        """What each picture shows."""


class Studio:
    """Trains, draws and judges in a folder, with one base model."""

    def __init__(
        self, folder: Path, model: Path, five: Path, judge: Judge, look: Look, processes: int
    ) -> None:
        self.folder, self.model, self.five = folder, model, five
        self.judge, self.look, self._workers = judge, look, Workers(processes)
        self.pictures = folder / "pictures"
        self._model_hash = file_hash(model)

    def close(self) -> None:
        """End the processes that were started for it."""
        self._workers.close()

    # -- training pictures and LoRAs ------------------------------------------------------------

    def training_pictures(self, *, augmented: bool = True, scenes: int = 0) -> Path:
        """The folder of twenty pictures made of the five, or of the five at training size.

        With `scenes` the character stands in so many places that the base model draws.
        """
        count = 20 if augmented else 5
        made_of = digest(folder_hash(self.five), count, self.look.size, folder_hash(AUGMENTING))
        folder = self.folder / f"training-{count}"
        if scenes:
            made_of = digest(made_of, scenes, self._model_hash)
            folder = folder.with_name(f"{folder.name}-in-{scenes}-places")
        stamp = folder.with_suffix(".made")
        if not stamp.exists() or stamp.read_text() != made_of:
            augment(
                self.five,
                folder,
                count=count,
                resolution=self.look.size,
                base=self.model,
                name="rimochan",
                scenes=scenes,
                overwrite=True,
            )
            stamp.write_text(made_of)
        return folder

    def options(self, recipe: Recipe) -> TrainingOptions:
        """What a recipe is trained with here."""
        pictures = self.training_pictures(augmented=recipe.augmented, scenes=recipe.scenes)
        options = recipe.options(self.model, pictures, Path())
        places = ("output_dir", "train_data_dir", "pretrained_model_name_or_path")
        what = {k: v for k, v in dataclasses.asdict(options).items() if k not in places}
        made_of = digest(what, folder_hash(pictures), self._model_hash)
        return dataclasses.replace(
            options, output_dir=str(self.folder / "loras" / f"{recipe.name}-{made_of[:8]}")
        )

    def train(self, recipes: Iterable[Recipe], description: str = "training") -> list[Path]:
        """Train those that are not yet trained; the file of each."""
        wanted = [self.options(recipe) for recipe in recipes]
        missing = {o.output_dir: o for o in wanted if not is_trained(o)}
        files = self._workers.run(
            train_one,
            list(missing.values()),
            total=sum(steps_left(options) for options in missing.values()),
            unit="step",
            description=description,
        )
        if None in files:
            raise KeyboardInterrupt
        return [lora_file(options) for options in wanted]

    # -- pictures -------------------------------------------------------------------------------

    def draw(self, shots: Sequence[Shot], description: str = "drawing") -> list[Path]:
        """Draw those that are not there yet; the file of each."""
        files = [self.picture_file(shot) for shot in shots]
        missing = {file: shot for file, shot in zip(files, shots, strict=True) if not file.exists()}
        batches = list(_batches(missing, self._workers.processes))
        self._workers.run(
            partial(draw_batch, self.model, self.look),
            batches,
            total=len(missing),
            unit="picture",
            description=description,
        )
        return files

    def picture_file(self, shot: Shot) -> Path:
        """The file of a picture, named by all that it depends on."""
        lora = lora_hash(shot.lora) if shot.lora else ""
        settings = dataclasses.asdict(self.look.settings(shot.prompt, shot.seed))
        return self.pictures / f"{digest(self._model_hash, lora, settings)[:16]}.png"

    def see(self, shots: Sequence[Shot], description: str = "drawing") -> list[Seen]:
        """Draw pictures and let the judge look at them."""
        files = self.draw(shots, description)
        notes = self.folder / f"seen-{self.judge.name}.jsonl"
        seen = read_notes(notes)
        new = [file for file in dict.fromkeys(files) if file.stem not in seen]
        for start in range(0, len(new), 64):
            part = new[start : start + 64]
            found = dict(
                zip(
                    part,
                    self.judge.look([open_image(file).convert("RGB") for file in part]),
                    strict=True,
                )
            )
            with notes.open("a", encoding="utf-8") as lines:
                for file, what in found.items():
                    seen[file.stem] = what
                    note = {"picture": file.stem, **dataclasses.asdict(what)}
                    lines.write("\n" + json.dumps(note))  # a line cut short by a kill ends here
        return [seen[file.stem] for file in files]


# -- training -----------------------------------------------------------------------------------


def lora_file(options: TrainingOptions) -> Path:
    """Where a training writes its LoRA."""
    return Path(options.output_dir) / f"{options.output_name}.safetensors"


def is_trained(options: TrainingOptions) -> bool:
    """Whether the training came to its end; a stopped one leaves a file too."""
    return lora_file(options).exists() and any(
        event["kind"] == "finished" for event in _events(options)
    )


def steps_left(options: TrainingOptions) -> int:
    """How many steps an interrupted training still has to go, about."""
    done = [event["step"] for event in _events(options) if event["kind"] == "progress"]
    return options.max_train_steps - (done[-1] if done else 0)


def _events(options: TrainingOptions) -> Iterable[Event]:
    return read_events(training_folder(options) / "events.jsonl")


def train_one(options: TrainingOptions, advance: Advance) -> Path | None:
    """Train a LoRA, or go on with it; None where it was interrupted."""

    def sink(event: Event) -> None:
        if event["kind"] == "progress":
            advance(1)

    return run_job(options, [sink], resume=True)


# -- drawing ------------------------------------------------------------------------------------

Batch = list[tuple[Path, Shot]]


def _batches(missing: dict[Path, Shot], processes: int) -> Iterable[Batch]:
    """Pictures that can be drawn together (same LoRA and tag), shared out to the processes."""

    def key(item: tuple[Path, Shot]) -> tuple[str, str]:
        _, shot = item
        return str(shot.lora), str(parse_prompt(shot.prompt)[1])

    for _, alike in groupby(sorted(missing.items(), key=key), key):
        items = list(alike)
        size = min(BATCH, -(-len(items) // processes))
        yield from (items[start : start + size] for start in range(0, len(items), size))


@torch.no_grad()
def draw_batch(model: Path, look: Look, batch: Batch, advance: Advance) -> None:
    """Draw pictures of one LoRA tag but any prompts and seeds, and write their files."""
    generator = _generator(model)
    lora = batch[0][1].lora
    generator.folder = _folder(lora.parent) if lora else None
    settings = [look.settings(shot.prompt, shot.seed) for _, shot in batch]
    generator.activate(settings[0])
    encode = partial(encode_prompt, generator.checkpoint)
    texts = [parse_prompt(one.prompt)[0] for one in settings]
    positive = joined([encode(text) for text in texts])
    negative = joined([encode(look.negative_prompt)] * len(batch))
    width, height = look.size
    guided = GuidedModel(
        generator.checkpoint,
        [positive],
        [negative],
        cfg_scale=look.cfg_scale,
        size=look.size,
    )
    latents = sample(
        guided,
        SeededNoise(
            [one.seed for one in settings], (4, height // LATENT_PIXELS, width // LATENT_PIXELS)
        ),
        sampler=settings[0].sampler,
        schedule=settings[0].schedule,
        steps=look.steps,
    )
    for (file, _), one, latent in zip(batch, settings, latents, strict=True):
        infotext = format_infotext(one, {"Model": generator.checkpoint.name})
        save_png(generator.decode(latent), file, infotext)
        advance(1)


@lru_cache(maxsize=1)
def _generator(model: Path) -> Generator:
    def refuse(message: Message) -> None:
        raise RuntimeError(message)  # the prompts are ours: nothing in them may be left out

    return Generator(load_checkpoint(model), tell=refuse)


_folder = lru_cache(LoraFolder)  # which keeps what it has read, so what is merged may stay


# -- what was made ------------------------------------------------------------------------------


def digest(*parts: Any) -> str:
    """A name for a combination of values."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def folder_hash(folder: Path) -> str:
    """A digest of the pictures and captions in a folder, or of the code."""
    files = sorted(file for file in folder.rglob("*") if file.suffix in (".png", ".txt", ".py"))
    return digest([(str(file.relative_to(folder)), file_hash(file)) for file in files])


def lora_hash(path: Path) -> str:
    """The hash of a LoRA file, read once as long as it does not change."""
    return _lora_hash(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=1024)
def _lora_hash(path: Path, modified: int) -> str:
    return file_hash(path)


def read_notes(path: Path) -> dict[str, Seen]:
    """What was seen before, by the pictures' names; one cut short is left out."""
    seen: dict[str, Seen] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                note = json.loads(line)
            except ValueError:
                continue
            picture = note.pop("picture")
            seen[picture] = Seen(**note)
    return seen
