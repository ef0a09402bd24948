"""What the Train tab asks about base models: which there are, and what one was made for."""

from __future__ import annotations

from pathlib import Path

from lib_rimo.errors import UserError
from lib_rimo.hosts.model_folders import models_in, remember_folder
from lib_rimo.hosts.training import TrainingHost, base_model, check_folder
from lib_rimo.messages import Message
from lib_rimo.sd.family import FAMILY_NAMES
from lib_rimo.sd.native import Native, native_of
from lib_rimo.training.config.built_in import FOR_ANY_FAMILY, options_of, recipe_for
from lib_rimo.ui.replies import Reply


class BaseModels:
    """Answers of the page's part for base models."""

    def __init__(self, host: TrainingHost) -> None:
        self.host = host

    def do_bases(self, asked: Reply) -> Reply:
        """All that there are by now, and where one's own go."""
        bases = [
            {
                "title": base.title,
                "path": str(base.path),
                "options": dict(base.options),
                "is_demonstration": base.is_demonstration,
            }
            for base in self.host.base_models()
        ]
        return {"bases": bases, "model_folder": str(self.host.model_folder())}

    def do_base(self, asked: Reply) -> Reply:
        """What the model at `path` was made for, and the recipe for its family.

        `for_any` has the recipes for any family, as this one wants them.
        """
        path = Path(asked["path"]).expanduser().absolute()
        if path.suffix.lower() != ".safetensors":  # before anything is opened
            raise UserError("{file} is not a .safetensors model: choose another.", file=path.name)
        check_folder(path, self.host, is_model=True)
        native = native_of(path)
        return {
            "standing": ",".join(map(str, native.standing)),
            "is_demonstration": native.is_demonstration,
            "recipe": recipe_for(native),
            "for_any": {name: options_of(name, native) for name in FOR_ANY_FAMILY},
            "options": dict(base_model(path).options),
            "message": _description(native).as_json(),
        }

    def do_add_base_folder(self, asked: Reply) -> Reply:
        """List the models of another folder too, from now on; `added` is the first of them."""
        if self.host.open_folders() is not None:
            raise UserError(
                "Folders cannot be added while others can reach this WebUI: put the models into "
                "{folder}.",
                folder=self.host.model_folder(),
            )
        if not asked["folder"].strip():
            raise UserError("Name the folder that has your checkpoints.")
        folder = Path(asked["folder"].strip().strip('"')).expanduser().absolute()
        remember_folder(self.host.home, folder)
        return {**self.do_bases(asked), "added": str(next(iter(models_in([folder]))))}


def _description(native: Native) -> Message:
    width, height = native.size
    what = "{family}, made for pictures of {width}×{height}."
    if native.prediction_type == "v_prediction":
        what = "{family} that predicts v, made for pictures of {width}×{height}."
    return Message(what, family=FAMILY_NAMES[native.family], width=width, height=height)
