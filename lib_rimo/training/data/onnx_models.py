"""Models for pictures that onnxruntime runs: the tagger, the one that finds the subject.

Nothing is fetched unasked: `fetch` does it once, into the cache that all programs of Hugging Face
share; a folder with the same files serves as well. `requirements/tagger.txt` has onnxruntime. What
is said of one that is missing is `about` its verb, so that the page can offer to fetch it.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib_rimo.errors import UserError


@dataclass(frozen=True)
class OnnxModel:
    """A model on Hugging Face, and what a user is told of it."""

    name: str  # on Hugging Face
    files: tuple[str, ...]  # that make a whole one; the first is the network
    verb: str  # of the command that uses it, and fetches it with --fetch
    megabytes: int

    @property
    def about(self) -> str:
        """What messages on a missing model are about."""
        return f"fetch {self.verb}"

    def folder(self, model: str = "") -> Path:
        """The folder of a model that is here: a folder's path, or a name; else UserError."""
        model = model or self.name
        if Path(model).is_dir():
            return Path(model)
        from huggingface_hub import try_to_load_from_cache

        found = [try_to_load_from_cache(model, name) for name in self.files]
        if not all(isinstance(file, str) for file in found):
            raise UserError(
                "{model} is not here yet: `python -m lib_rimo {verb} --fetch` fetches it once "
                "(about {megabytes} MB), or put {files} into a folder and give that.",
                model=model,
                verb=self.verb,
                megabytes=self.megabytes,
                files=list(self.files),
                about=self.about,
            )
        return Path(str(found[0])).parent

    def fetch(self, model: str = "") -> Path:
        """Fetch it with a progress bar; returns its folder. Raises UserError."""
        from huggingface_hub import snapshot_download

        model = model or self.name
        try:
            return Path(snapshot_download(model, allow_patterns=list(self.files)))
        except Exception as error:  # the network's, the hub's and the disk's own classes
            raise UserError(
                "{model} could not be fetched ({error}): check the network connection, or put "
                "{files} from its page on Hugging Face into a folder and give that.",
                model=model,
                error=f"{type(error).__name__}: {error}"[:200],
                files=list(self.files),
            ) from error

    def session(self, folder: Path) -> Any:
        """Load the network on the CPU. Raises UserError where that is not possible."""
        if importlib.util.find_spec("onnxruntime") is None:
            raise UserError(
                "This needs onnxruntime, which is not installed: run "
                "`python -m lib_rimo {verb} --fetch` once, then start this again.",
                verb=self.verb,
                model=self.name,
                megabytes=self.megabytes,
                about=self.about,
            )
        import onnxruntime

        file = folder / self.files[0]
        try:
            return onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises classes of its own for each fault
            raise self.unusable(folder, error) from error

    def unusable(self, folder: Path, why: object) -> UserError:
        """What is said of a folder that holds something else."""
        return UserError(
            "{folder} holds no model that `{verb}` can use ({why}): it needs {files} of one model.",
            folder=folder,
            verb=self.verb,
            why=str(why)[:200],
            files=list(self.files),
        )
