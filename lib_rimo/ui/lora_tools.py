"""The LoRA tools of the page: the verbs that make LoRAs of those in the folder, in a process."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Callable
from pathlib import Path

from lib_rimo.errors import MissingError, UserError
from lib_rimo.hosts.training import TrainingHost, check_folder
from lib_rimo.training.config.names import check_name
from lib_rimo.training.data.image_files import UnusablePictureError, decode
from lib_rimo.ui.replies import Reply
from lib_rimo.ui.verbs import Verbs
from lib_rimo.weights.tags import KINDS, find_extra_networks


class LoraTools:
    """Answers what the page asks of LoRA files. Nothing that is there is overwritten."""

    def __init__(self, host: TrainingHost, verbs: Verbs) -> None:
        self.host, self._verbs = host, verbs
        self._arguments: dict[str, Callable[[Reply], list[str]]] = {
            "merge": self._merge,
            "resize": self._resize,
            "extract": self._extract,
            "convert": self._convert,
            "edit": self._edit,
        }

    def do_loras(self, asked: Reply) -> Reply:
        """The names of all LoRAs in the folder, by which tags call them."""
        folder = self.host.lora_folder
        files = sorted(folder.rglob("*.safetensors")) if folder.is_dir() else []
        return {"loras": [file.stem for file in files if self.host.lora_path(file.stem)]}

    def do_tool(self, asked: Reply) -> Reply:
        """Run a tool: `tool`, and what its form holds. Raises UserError for what it refuses."""
        arguments = self._arguments.get(str(asked["tool"]))
        if arguments is None:
            raise MissingError("There is no tool {name}.", name=asked["tool"])
        with tempfile.TemporaryDirectory() as folder:
            self._keep_cover(asked, Path(folder))
            command = [str(asked["tool"]), *arguments(asked)]
            self._verbs.run(command, str(asked.get("ticket", "")))
        name = str(asked["lora"] if asked["tool"] == "edit" else asked["name"])
        self.host.refresh(name)
        return {"name": name}

    def _merge(self, asked: Reply) -> list[str]:
        found = [tag for tag in find_extra_networks(str(asked["tags"])) if tag.kind in KINDS]
        if not found:
            raise UserError(
                "Write the tags of the LoRAs to merge: <lora:NAME:0.8> <lora:OTHER:0.5>."
            )
        words = [tag.text for tag in found]
        return [self._target(asked), *words, f"--lora-dir={self.host.lora_folder}", *_ranks(asked)]

    def _resize(self, asked: Reply) -> list[str]:
        return [self._source(str(asked["lora"])), self._target(asked), *_ranks(asked)]

    def _extract(self, asked: Reply) -> list[str]:
        if not asked.get("dim") and not asked.get("error"):
            raise UserError("Give a rank (dim), or how much may be lost.")
        models = [self._model(str(asked[name])) for name in ("original", "tuned")]
        return [*models, self._target(asked), *_ranks(asked)]

    def _convert(self, asked: Reply) -> list[str]:
        return [self._source(str(asked["lora"])), self._target(asked), f"--to={asked['to']}"]

    def _edit(self, asked: Reply) -> list[str]:
        texts = [
            f"--{name}={asked[name]}"
            for name in ("title", "trigger", "description")
            if asked.get(name)
        ]
        texts += [f"--cover={asked['cover']}"] if asked.get("cover") else []
        if not texts:
            raise UserError("Write a title, a trigger word or a description, or choose a picture.")
        return [self._source(str(asked["lora"])), *texts]

    def _keep_cover(self, asked: Reply, folder: Path) -> None:
        """Have `cover`, a picture file in base64, be the path of that picture in a folder."""
        if not asked.get("cover"):
            return
        try:
            picture = decode(base64.b64decode(asked["cover"]))
        except UnusablePictureError as error:
            raise UserError("The picture {reason}; choose another.", reason=error.reason) from None
        asked["cover"] = folder / "cover.png"
        picture.convert("RGB").save(asked["cover"])

    def _model(self, path: str) -> str:
        if not path:
            raise UserError("Choose the base model, and the model that was made of it.")
        return str(check_folder(Path(path), self.host, is_model=True))

    def _source(self, name: str) -> str:
        path = self.host.lora_path(name)
        if path is None:
            raise MissingError("There is no LoRA {name} in the folder.", name=name)
        return str(path)

    def _target(self, asked: Reply) -> str:
        name = str(asked["name"]).strip()
        faults = check_name(name)
        if faults:
            raise UserError(*faults)
        path = self.host.lora_folder / f"{name}.safetensors"
        if path.exists():
            raise UserError("There is a LoRA {name} already: choose another name.", name=name)
        return str(path)


def _ranks(asked: Reply) -> list[str]:
    dim = [f"--dim={int(asked['dim'])}"] if asked.get("dim") else []
    return dim + ([f"--error={float(asked['error'])}"] if asked.get("error") else [])
