"""No WebUI at all: a folder of our own, and the models that lie in it."""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_rimo import environment
from lib_rimo.errors import UserError
from lib_rimo.hosts.model_folders import models_in, remembered_folders
from lib_rimo.hosts.reach import Reach, names_set
from lib_rimo.hosts.training import BaseModel, Interrogate, Plot, base_model
from lib_rimo.inference.infotext import Settings
from lib_rimo.messages import Message
from lib_rimo.sd import embedded
from lib_rimo.weights.presets import Presets, load_presets, save_preset

if TYPE_CHECKING:
    from PIL.Image import Image

    from lib_rimo.inference.generation import Generator
    from lib_rimo.training.data.tagger import Tagger


class Standalone:
    """The host of `python -m lib_rimo ui`."""

    name = "standalone"
    draws_with_any = True
    python = Path(sys.executable)

    def __init__(
        self,
        home: Path,
        models: Sequence[Path] = (),
        *,
        is_shared: bool = False,
        has_login: bool = False,
    ) -> None:
        self.home = home
        self.lora_folder = home / "loras"
        self.models = [home / "models", *models]
        self.is_shared = is_shared
        self.has_login = has_login
        self._generator: tuple[tuple[Path, int], Generator] | None = None
        self._messages: list[Message] = []
        self._tagger: Tagger | None = None
        self.drawing = threading.RLock()
        """Held for each picture: LoRAs are merged into the one model that there is."""

    def is_ready(self) -> bool:
        """This runs in the trainer's environment."""
        return True

    def prepare(self) -> None:
        """There is nothing to install."""

    def prepare_onnx(self) -> None:
        """Install onnxruntime into `.venv`; raises UserError where that is not ours."""
        importlib.invalidate_caches()
        if importlib.util.find_spec("onnxruntime") is not None:
            return
        if environment.is_brought_along():
            raise UserError("This needs onnxruntime: `pip install onnxruntime`, then try again.")
        environment.prepare("tagger")
        importlib.invalidate_caches()

    def installation(self) -> None:
        """There is nothing to install."""

    def base_models(self) -> list[BaseModel]:
        """Those in the folders of models, and behind them the embedded ones."""
        places = [*self.models, *remembered_folders(self.home)]
        ours = embedded.MODELS.values()
        files = [file for file in models_in(places) if file not in ours]
        files += [file for file in ours if file.exists()]
        return [base_model(file) for file in dict.fromkeys(files)]

    def model_folder(self) -> Path:
        """Where one's own models go."""
        return self.models[0]

    def open_folders(self) -> list[Path] | None:
        """Any file, unless others can reach the page."""
        if not self.is_shared:
            return None
        # What is listed may be a link to elsewhere.
        models = [model.path for model in self.base_models()]
        loras = self.lora_folder.rglob("*.safetensors")
        named = remembered_folders(self.home)
        return [embedded.MODEL.parent, *self.models, *named, *models, *loras]

    def openings(self) -> list[str]:
        """The one flag that there is for that."""
        return ["--listen"] if self.is_shared else []

    def reach(self) -> Reach:
        """Any of this machine's names, and those that were given."""
        return Reach(names_set(), has_login=self.has_login)

    def interrogators(self) -> dict[str, Interrogate]:
        """A WD14 tagger, whose model is fetched on request only."""
        return {"WD14": self._propose_tags}

    def _propose_tags(self, picture: Path) -> str:
        from lib_rimo.training.data.image_files import open_image
        from lib_rimo.training.data.tagger import MODEL, Tagger

        if self._tagger is None:
            self._tagger = Tagger(MODEL.folder())
        return self._tagger.caption(open_image(picture))

    def refresh(self, name: str) -> None:
        """Nothing is remembered."""

    def draw_plot(self, plot: Plot, drawn: Callable[[], None]) -> Image:
        """Draw a plot with our own sampling."""
        from lib_rimo.inference.grid import draw_grid

        pictures = []
        width, height = plot.size
        for prompt in plot.prompts:
            settings = Settings(prompt=prompt, width=width, height=height)
            pictures.append(self.draw_picture(settings, plot.model))
            drawn()
        return draw_grid(pictures, plot.columns, plot.rows)

    def draw_picture(
        self, settings: Settings, model: Path, options: Mapping[str, Any] | None = None
    ) -> Image:
        """Draw one with our own sampling, which has no options of its own."""
        with self.drawing:
            return next(self.generator(model).draw(settings)).image

    def picture_options(self) -> dict[str, Any]:
        """None."""
        return {}

    def generator(self, model: Path) -> Generator:
        """What draws with a model; the last one stays loaded."""
        from lib_rimo.inference.apply import LoraFolder
        from lib_rimo.inference.device import choose_device
        from lib_rimo.inference.generation import Generator
        from lib_rimo.sd.checkpoint import load_checkpoint

        version = (model, model.stat().st_mtime_ns)
        if self._generator is None or self._generator[0] != version:
            self._generator = None  # frees the one before
            device, dtype = choose_device(None, None)
            self._messages.clear()
            checkpoint = load_checkpoint(model, device=device, dtype=dtype)
            loras = LoraFolder(self.lora_folder)
            made = Generator(checkpoint, loras, presets=self.presets(), tell=self._messages.append)
            self._generator = (version, made)
        return self._generator[1]

    def take_messages(self) -> list[Message]:
        """What the generator told of tags since the last call."""
        messages, self._messages[:] = list(self._messages), []
        return messages

    def presets(self) -> Presets:
        """All named block weights."""
        return load_presets([self.home])

    def save_preset(self, name: str, values: str) -> None:
        """Keep block weights under a name; raises UserError."""
        save_preset(self.home, name, values)

    def lora_path(self, name: str) -> Path | None:
        """The file that a tag of this name loads."""
        path = self.lora_folder / f"{name}.safetensors"
        return path if path.is_file() and path.parent == self.lora_folder else None

    def panel_messages(self) -> Sequence[Message]:
        """Nothing to tell."""
        return ()
