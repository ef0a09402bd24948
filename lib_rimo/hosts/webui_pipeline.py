"""Pictures by a WebUI's own pipeline that leave its page as it was."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_rimo.errors import UserError
from lib_rimo.inference.infotext import Settings

if TYPE_CHECKING:
    from PIL.Image import Image

_ATTEMPTS = 3  # at a picture that is interrupted
# Of Forge, written into infotexts without being marked so: text encoders and VAE, the UNet's type.
_MORE_OPTIONS = ("forge_additional_modules", "forge_unet_storage_dtype")


class Pipeline:
    """What draws in a WebUI, with the checkpoint that is loaded."""

    def __init__(self, shared: Any, sd_models: Any, lock: AbstractContextManager[Any]) -> None:
        """The host's modules of these names, and the lock that is held around every picture."""
        self._shared, self._sd_models, self._lock = shared, sd_models, lock
        self.before_picture: Callable[[], object] = lambda: None
        """Called before each, with the lock held, as the host's scripts are not."""

    def chosen_checkpoint(self) -> Path | None:
        """The file of the checkpoint that is chosen in the page; None without any."""
        try:
            info = self._sd_models.select_checkpoint()
        except FileNotFoundError:  # what the host raises where there is none
            return None
        return None if info is None else Path(info.filename)

    def draw(self, settings: Settings, options: Mapping[str, Any] | None = None) -> Image:
        """Draw one picture.

        Nothing of the page is touched: no setting, no seed, no file; a picture's LoRAs are
        activated anew for each. One that somebody interrupts in the page is drawn again. Raises
        UserError where `options` are not the WebUI's any more.
        """
        processing = importlib.import_module("modules.processing")
        scripts = importlib.import_module("modules.scripts")
        kind = processing.StableDiffusionProcessingTxt2Img
        # Schedules have names of their own since AUTOMATIC1111 1.9.
        scheduled = bool(settings.schedule) and "scheduler" in inspect.signature(kind).parameters
        for _ in range(_ATTEMPTS):
            with self._lock, self._as_a_job():
                self._check_options(options)
                self.before_picture()
                job = kind(
                    sd_model=self._shared.sd_model,
                    prompt=settings.prompt,
                    negative_prompt=settings.negative_prompt,
                    seed=settings.seed,
                    steps=settings.steps,
                    cfg_scale=settings.cfg_scale,
                    sampler_name=settings.sampler,
                    width=settings.width,
                    height=settings.height,
                    do_not_save_samples=True,
                    do_not_save_grid=True,
                    **({"scheduler": settings.schedule} if scheduled else {}),
                )
                # One without any scripts: reForge looks for one of its own in None too.
                job.scripts = scripts.ScriptRunner()
                try:
                    pictures: list[Image] = processing.process_images(job).images
                finally:
                    job.close()
                state = self._shared.state
                if pictures and not state.interrupted and not state.skipped:
                    return pictures[0]
        raise UserError("The WebUI was interrupted each time it drew a picture: try it again.")

    @contextmanager
    def _as_a_job(self) -> Iterator[None]:
        """One of the WebUI's jobs, so that what interrupted the last one doesn't count for it.

        It is not what the page's button for the last picture's settings brings back.
        """
        given, state = self._shared.cmd_opts, self._shared.state
        remembers_none = getattr(given, "no_prompt_history", False)
        given.no_prompt_history = True
        state.begin(job="Rimo")
        try:
            yield
        finally:
            state.end()
            given.no_prompt_history = remembers_none

    def options(self) -> dict[str, Any]:
        """The options that the WebUI writes into pictures' infotexts, and what Forge loads."""
        with self._lock:  # a picture's own options stand in for the WebUI's while it is drawn
            return self._options()

    def _options(self) -> dict[str, Any]:
        options, labels = self._shared.opts, self._shared.opts.data_labels
        names = [name for name, label in labels.items() if label.infotext or name in _MORE_OPTIONS]
        found = {name: getattr(options, name) for name in names}
        # Its title stands there, to which a hash is added once it is loaded.
        return {**found, "sd_model_checkpoint": str(self.chosen_checkpoint())}

    def _check_options(self, before: Mapping[str, Any] | None) -> None:
        if before is None:
            return
        now = self._options()
        changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        if changed:
            labels = self._shared.opts.data_labels
            # As infotexts have it: many labels of Forge say "(Managed by Forge)".
            names = [getattr(labels.get(name), "infotext", None) or name for name in changed]
            raise UserError(
                "{options} changed in the WebUI meanwhile: change it back, or start anew.",
                options=", ".join(names),
            )
