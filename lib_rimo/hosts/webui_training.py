"""What the trainer finds in a WebUI, part by part."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_rimo.errors import UserError
from lib_rimo.hosts.environment import Installation, TrainerEnvironment
from lib_rimo.hosts.lora_files import entry_of, find_file
from lib_rimo.hosts.model_folders import models_in, remembered_folders
from lib_rimo.hosts.model_memory import model_memory
from lib_rimo.hosts.reach import Reach, is_loopback, reach_of_webui
from lib_rimo.hosts.training import BaseModel, Interrogate, Plot, base_model
from lib_rimo.hosts.webui import presets_of
from lib_rimo.hosts.webui_pipeline import Pipeline
from lib_rimo.inference.infotext import Settings
from lib_rimo.training.jobs.estimate import estimate
from lib_rimo.training.jobs.folder import Job
from lib_rimo.training.jobs.lock import hold
from lib_rimo.training.jobs.queue import Queue
from lib_rimo.weights.presets import Presets

if TYPE_CHECKING:
    from PIL.Image import Image


class WebUITraining:
    """The trainer's host in a WebUI; see `lib_rimo.hosts.training.TrainingHost`."""

    name = "webui"
    draws_with_any = False

    def __init__(self) -> None:
        self.shared = importlib.import_module("modules.shared")
        self.devices = importlib.import_module("modules.devices")
        self.sd_models = importlib.import_module("modules.sd_models")
        self.lock = importlib.import_module("modules.call_queue").queue_lock
        paths = importlib.import_module("modules.paths")
        self.home = Path(paths.data_path) / "rimo"
        self.lora_folder = Path(self.shared.cmd_opts.lora_dir)
        self.pipeline = Pipeline(self.shared, self.sd_models, self.lock)
        self.environment = TrainerEnvironment()
        self.python = self.environment.python

    def is_ready(self) -> bool:
        """Whether the trainer's libraries are installed in the extension's folder."""
        return self.environment.is_ready()

    def prepare(self) -> None:
        """Install them; raises UserError."""
        with hold(self.environment.folder.with_suffix(".lock"), seconds=3600):
            self.environment.prepare()

    def prepare_onnx(self) -> None:
        """Install onnxruntime into the extension's folder too; raises UserError."""
        with hold(self.environment.folder.with_suffix(".lock"), seconds=3600):
            self.environment.prepare_onnx()

    def installation(self) -> Installation | None:
        """How far an installation is that goes on."""
        return self.environment.installation()

    def base_models(self) -> list[BaseModel]:
        """The WebUI's checkpoints, the chosen one first."""
        chosen = self.pipeline.chosen_checkpoint()
        listed = {Path(info.filename): info for info in self.sd_models.checkpoints_list.values()}
        files = [*listed, *models_in(remembered_folders(self.home))]
        models = [
            _as_listed(base_model(file), listed.get(file))
            for file in dict.fromkeys(files)
            if file.suffix == ".safetensors"
        ]
        return sorted(models, key=lambda model: model.path != chosen)

    def model_folder(self) -> Path:
        """Where the WebUI looks for checkpoints."""
        given = getattr(self.shared.cmd_opts, "ckpt_dir", None)
        return Path(given or self.sd_models.model_path)

    def open_folders(self) -> list[Path] | None:
        """Any file, unless others can reach the WebUI and it was not told to trust them."""
        if not self.shared.cmd_opts.disable_extension_access or not self.openings():
            return None
        # What the host lists may be a link to elsewhere, a file as well as its folder.
        listed = [*(model.path for model in self.base_models()), *self._loras()]
        return [*{path.parent for path in listed}, *listed]

    def openings(self) -> list[str]:
        """The flags that let others in; a server's name that is the machine's own does not."""
        given = self.shared.cmd_opts
        flags = [flag for flag in _OPENINGS if getattr(given, flag.strip("-"), None)]
        name = getattr(given, "server_name", None)
        if name and not is_loopback(name):
            flags.append(f"--server-name {name}")
        if not flags and not name:
            return ["what lets others in"]  # the host knows of a way that we do not
        return flags

    def _loras(self) -> list[Path]:
        """The LoRAs that the WebUI lists; none where its Lora extension is turned off."""
        try:
            networks = importlib.import_module("networks")
        except ModuleNotFoundError:
            return []
        return [Path(known.filename) for known in list(networks.available_networks.values())]

    def interrogators(self) -> dict[str, Interrogate]:
        """The host's own, as far as it has any; it fetches their models when first used."""
        found = {}
        if _has_module("modules.deepbooru"):
            found["DeepBooru"] = self._with_picture(
                lambda image: importlib.import_module("modules.deepbooru").model.tag(image)
            )
        if getattr(self.shared, "interrogator", None) is not None:
            found["CLIP"] = self._with_picture(
                lambda image: self.shared.interrogator.interrogate(image)
            )
        return found

    def _with_picture(self, propose: Callable[[Any], str]) -> Interrogate:
        def interrogate(path: Path) -> str:
            from lib_rimo.training.data.image_files import open_image

            image = open_image(path).convert("RGB")
            try:
                with self.lock:
                    caption = propose(image)
                if "<error>" in caption:  # what CLIP has instead of, or behind, a caption
                    raise RuntimeError(caption)
            except Exception as error:  # whatever the host's models raise, it costs a caption only
                importlib.import_module("modules.errors").report(
                    f"Rimo: no caption for {path}", exc_info=True
                )
                raise UserError(
                    "The WebUI could not caption {file}: it downloads the model for that when it "
                    "is first used, so check the network connection; its console says more.",
                    file=path.name,
                ) from error
            return caption

        return interrogate

    def refresh(self, name: str) -> None:
        """Let the host find a new file; one that was replaced is noticed when it is used."""
        networks = sys.modules.get("networks")
        if networks is not None:  # a Lora extension of another kind looks for itself
            with self.lock:
                find_file(networks, name)

    def draw_plot(self, plot: Plot, drawn: Callable[[], None]) -> Image:
        """Draw a plot with the loaded checkpoint, through the WebUI's own pipeline."""
        images = importlib.import_module("modules.images")
        width, height = plot.size
        pictures = []
        for prompt in plot.prompts:
            settings = Settings(prompt=prompt, width=width, height=height)
            pictures.append(self.draw_picture(settings, plot.model))
            drawn()
        grid = images.image_grid(pictures, rows=len(plot.rows))
        labels = [
            [[images.GridAnnotation(text)] for text in texts] for texts in (plot.columns, plot.rows)
        ]
        annotated: Image = images.draw_grid_annotations(grid, width, height, *labels)
        return annotated

    def draw_picture(
        self, settings: Settings, model: Path, options: Mapping[str, Any] | None = None
    ) -> Image:
        """Draw one with the loaded checkpoint; see `Pipeline`."""
        return self.pipeline.draw(settings, options)

    def picture_options(self) -> dict[str, Any]:
        """What the WebUI's pictures depend on besides; see `Pipeline`."""
        return self.pipeline.options()

    def lora_path(self, name: str) -> Path | None:
        """The file that a tag of this name loads; None without the host's Lora extension."""
        networks = sys.modules.get("networks")
        entry = None if networks is None else entry_of(networks, name)
        return None if entry is None else Path(entry.filename)

    def presets(self) -> Presets:
        """All named block weights."""
        return presets_of(importlib.import_module("modules.paths"))

    def logins(self) -> dict[str, str] | None:
        """Who may use the API: the logins of `--api-auth` and `--gradio-auth`; none: everybody.

        None where the host doesn't tell.
        """
        logins = self._page_logins()
        if logins is None:
            return None
        for pair in (self.shared.cmd_opts.api_auth or "").split(","):
            user, colon, password = pair.partition(":")
            if colon:
                logins[user.strip()] = password.strip()
        return logins

    def _page_logins(self) -> dict[str, str] | None:
        """The logins of `--gradio-auth`; None where the host doesn't tell."""
        if not _has_module("modules.initialize_util"):
            return None
        credentials = importlib.import_module("modules.initialize_util").get_gradio_auth_creds()
        return {pair[0]: pair[1] for pair in credentials if len(pair) == 2}

    def reach(self) -> Reach:
        """Under which names the WebUI is reached, and which pages may speak to it."""
        return reach_of_webui(self.shared.cmd_opts, has_login=bool(self._page_logins()))

    def is_gpu(self) -> bool:
        """Whether the host draws on a GPU, whose memory a training needs."""
        return bool(self.devices.get_optimal_device().type != "cpu")

    def leave_gpu(self) -> None:
        """Move the host's model to the machine's own memory."""
        model_memory().leave_gpu()

    def return_to_gpu(self) -> None:
        """Bring it back."""
        model_memory().return_to_gpu()


def _as_listed(model: BaseModel, info: Any) -> BaseModel:
    """A model under the host's names for it: with its folder, with a hash behind, as a hash."""
    shown = [getattr(info, name, None) for name in ("name", "title")]
    names = list(dict.fromkeys(filter(None, [*shown, *getattr(info, "ids", ())])))
    title = names[0].removesuffix(model.path.suffix) if names else model.title
    return replace(model, title=title, names=names)


def has_train_tab() -> bool:
    """Whether the host's page opens its Train tab to extensions; forks kept the callback alone."""
    functions = filter(inspect.isfunction, vars(importlib.import_module("modules.ui")).values())
    return any("ui_train_tabs_callback" in function.__code__.co_names for function in functions)


# What a WebUI has for letting others in, beside --server-name.
_OPENINGS = ("--listen", "--share", "--ngrok")


def _has_module(name: str) -> bool:
    if name in sys.modules:
        return True
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


class TrainingWatcher:
    """Looks after the trainings from inside the host: room for them, and their LoRAs.

    A thread of its own; trainings need it for nothing, so it may come and go with the host.
    """

    LOOK_EVERY = 2.0  # seconds

    def __init__(self, queue: Queue, host: WebUITraining) -> None:
        self.queue = queue
        self.host = host
        self.is_away = False
        self._published: dict[str, int] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rimo-training-watcher", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._published = {job.id: _time_of(job) for job in self.queue.jobs()}
        self._thread.start()

    def stop(self) -> None:
        """Stop looking, as when the host reloads its scripts, with its model where it was at first.

        Who looks next does not know that it is away.
        """
        self._stopped.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()
        with self.host.lock:
            self.bring_model_back()

    def _run(self) -> None:
        while not self._stopped.wait(self.LOOK_EVERY):
            try:
                self.look()
            except Exception as error:  # the next look may go better
                print(f"Rimo: {type(error).__name__}: {error}")

    def look(self) -> None:
        """Do what is due."""
        jobs = self.queue.jobs()
        for job in jobs:
            time = _time_of(job)
            if time and self._published.get(job.id) != time:
                self._published[job.id] = time
                self.host.refresh(job.options.output_name)
        running = self.queue.running()
        if running is not None and not self.is_away and self._needs_room(running):
            with self.host.lock:
                self.host.leave_gpu()
            self.is_away = True
        if self.is_away and running is None and not self.queue.waiting():
            with self.host.lock:
                self.bring_model_back()

    def bring_model_back(self) -> None:
        """Bring the host's model back; also for a picture that is drawn during a training.

        To be called while the host's lock is held, as it is around every picture.
        """
        if self.is_away:
            self.host.return_to_gpu()
            self.is_away = False

    def _needs_room(self, job: Job) -> bool:
        """Whether the training would not fit beside the host's model."""
        if not self.host.is_gpu():
            return False
        import torch

        if not torch.cuda.is_available():
            return True
        free, _ = torch.cuda.mem_get_info()
        return free < 1.1 * estimate(job.options, self.queue.folder).memory


def _time_of(job: Job) -> int:
    """When the published copy of a job's LoRA was written; 0 for none."""
    path = Path(job.status.publish_to) / job.lora.name
    return path.stat().st_mtime_ns if job.status.publish_to and path.exists() else 0
