"""What the trainer needs of a host, and which folders it may touch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lib_rimo.errors import UserError
from lib_rimo.inference.infotext import Settings
from lib_rimo.messages import Message
from lib_rimo.sd import embedded
from lib_rimo.training.config.options import TrainingOptions
from lib_rimo.weights.presets import Presets

if TYPE_CHECKING:
    from PIL.Image import Image

    from lib_rimo.hosts.environment import Installation
    from lib_rimo.hosts.reach import Reach

Interrogate = Callable[[Path], str]
"""Proposes a caption for a picture."""


@dataclass(frozen=True)
class BaseModel:
    """A checkpoint that can be trained on."""

    title: str
    path: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    """What this model needs to be trained with in place of the recipe's."""
    is_demonstration: bool = False
    """The small model that comes with Rimo."""
    names: Sequence[str] = ()
    """What a WebUI calls it, if it lists it: first the name that its own page shows."""


def base_model(path: Path) -> BaseModel:
    """A checkpoint's file; an embedded model comes with what its size asks for."""
    if not embedded.is_embedded(path):
        return BaseModel(path.stem, path)
    factor, recipe = embedded.LEARNING_RATE_FACTOR, TrainingOptions()
    suited = {
        "resolution": ",".join(map(str, embedded.RESOLUTION)),
        "unet_lr": recipe.unet_learning_rate * factor,
        "text_encoder_lr": recipe.text_encoder_learning_rate * factor,
    }
    return BaseModel(path.stem, path, suited, is_demonstration=True)


def find_base_model(models: Sequence[BaseModel], asked: str) -> BaseModel | None:
    """The model of this path, or else of this name; raises UserError where several have it."""
    known = [model for model in models if asked == str(model.path)] or [
        model for model in models if asked in (model.title, model.path.name, *model.names)
    ]
    if len(known) > 1:
        raise UserError(
            "{name} can be any of {models}: give the whole name.",
            name=asked,
            models=[model.title for model in known],
            about="pretrained_model_name_or_path",
        )
    return known[0] if known else None


def on_another_model(host: TrainingHost, base: str) -> list[Message]:
    """What to tell where the host draws with another model than a LoRA was trained on, `base`.

    Nothing where that is not known: `base` is empty, or the host has no model.
    """
    loaded = next(iter(host.base_models()), None)
    if host.draws_with_any or not base or loaded is None:
        return []
    if Path(base).resolve() == loaded.path.resolve():
        return []
    # By its name alone, or from where the file stood when the LoRA was trained.
    if find_base_model([loaded], base) or find_base_model([loaded], Path(base).name):
        return []
    return [
        Message(
            "Drawn with {model}, which is loaded; the LoRA was trained on {base}, so load that to "
            "see what it learned.",
            model=loaded.title,
            base=Path(base).stem,
            level="warning",
        )
    ]


@dataclass(frozen=True)
class Plot:
    """Pictures in labelled columns and rows; the columns change fastest."""

    prompts: Sequence[str]
    columns: Sequence[str]
    rows: Sequence[str]
    size: tuple[int, int]
    """Width and height of each picture."""
    model: Path
    """What the LoRA was trained on; a WebUI draws with the checkpoint that is loaded."""


class TrainingHost(Protocol):
    """A place that the Train tab stands in."""

    name: str
    home: Path
    """Where pictures, jobs and recipes are kept."""
    lora_folder: Path
    """Where LoRAs are used from."""
    python: Path
    """The interpreter that trainings run with."""
    draws_with_any: bool
    """Whether it draws with any of its base models, or with the one that is loaded."""

    def is_ready(self) -> bool:
        """Whether the trainer's libraries are installed."""

    def prepare(self) -> None:
        """Install them; raises UserError."""

    def prepare_onnx(self) -> None:
        """Install onnxruntime beside them, which the tagger and masks of detailed pictures need.

        Raises UserError.
        """

    def installation(self) -> Installation | None:
        """How far an installation is that goes on."""

    def base_models(self) -> Sequence[BaseModel]:
        """The checkpoints that there are, the loaded one first."""

    def model_folder(self) -> Path:
        """Where one's own checkpoints go."""

    def open_folders(self) -> Sequence[Path] | None:
        """Where the models lie that visitors of the page may use, folders or single files.

        None: they may use any file.

        None only where nobody but the machine's own user can reach the page.
        """

    def openings(self) -> Sequence[str]:
        """The flags by which the host was started so that others can reach the page."""

    def reach(self) -> Reach:
        """Under which names the page is reached, and which other pages may speak to it."""

    def interrogators(self) -> dict[str, Interrogate]:
        """What can propose captions, by name."""

    def refresh(self, name: str) -> None:
        """A LoRA is new or has been replaced."""

    def draw_plot(self, plot: Plot, drawn: Callable[[], None]) -> Image:
        """Draw a plot, telling of each picture that is done. Raises UserError."""

    def draw_picture(
        self, settings: Settings, model: Path, options: Mapping[str, Any] | None = None
    ) -> Image:
        """Draw one picture; a WebUI does with the checkpoint that is loaded.

        The next picture of the page is the same as if this one had not been drawn. Raises UserError
        where the host's own options, if `options` tells what they were, are others by now.
        """

    def picture_options(self) -> dict[str, Any]:
        """What the host's pictures depend on beside `Settings`, by the names of its options."""

    def lora_path(self, name: str) -> Path | None:
        """The file that a tag of this name loads."""

    def presets(self) -> Presets:
        """All named block weights."""


def check_folder(path: Path, host: TrainingHost, *, is_model: bool = False) -> Path:
    """The real path of a file or folder; raises UserError where the host does not allow it.

    Links are followed first: where something really lies decides. Models lie in more places than
    what visitors may change.
    """
    real = path.expanduser().resolve()
    models = host.open_folders()
    if models is None:
        return real
    for folder in [host.home, *([host.lora_folder, *models] if is_model else [])]:
        if real.is_relative_to(folder.resolve()):
            return real
    raise UserError(
        "{file} is outside of the folders that may be used while others can reach this "
        "WebUI: drop the pictures in, or start the WebUI without {flags}.",
        file=path,
        flags=host.openings(),
    )


def check_ready(host: TrainingHost) -> None:
    """Raise UserError where the trainer's libraries are not there yet."""
    if not host.is_ready():
        raise UserError("The trainer's libraries are not installed yet: install them first.")
