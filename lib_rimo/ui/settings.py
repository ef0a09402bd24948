"""The Train tab's settings: options with every path checked, recipes, other trainers' files."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

from lib_rimo.errors import UserError
from lib_rimo.hosts.training import TrainingHost, check_folder, find_base_model
from lib_rimo.messages import Message, Tell
from lib_rimo.training.config.declaration import option_type
from lib_rimo.training.config.dialects import as_kohyas
from lib_rimo.training.config.documents import read_mapping
from lib_rimo.training.config.job_file import flatten, from_mapping
from lib_rimo.training.config.options import TrainingOptions
from lib_rimo.training.config.recipes import load_recipes, save_recipe
from lib_rimo.ui.replies import Reply, as_json

MODEL_OPTIONS = ("pretrained_model_name_or_path", "network_weights", "vae")
FOLDER_OPTIONS = ("train_data_dir", "reg_data_dir", "dataset_config", "logging_dir")
# What the page itself decides, or what only makes sense on the command line.
HIDDEN_OPTIONS = frozenset(
    {"output_dir", MODEL_OPTIONS[0], FOLDER_OPTIONS[0], "output_name", "trigger_word"}
)


class Settings:
    """Answers what the page asks about settings."""

    def __init__(self, host: TrainingHost, output_dir: Path) -> None:
        self.host = host
        self.output_dir = output_dir
        self._recipes = host.home / "recipes"

    def recipes(self, tell: Tell) -> Reply:
        """All recipes by name; `tell` hears of files that are none."""
        return load_recipes(self._recipes, tell)

    def do_save_recipe(self, asked: Reply) -> Reply:
        """Keep a recipe under a name."""
        save_recipe(self._recipes, asked["name"], self._read(asked["options"])[0])
        return {"recipes": self.recipes(lambda message: None)}

    def do_load_file(self, asked: Reply) -> Reply:
        """Read a job file, kohya's TOML or JSON: its options, and what was left out."""
        suffix = ".json" if asked["name"].lower().endswith(".json") else ".toml"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"options{suffix}"
            path.write_text(asked["content"], encoding="utf-8")
            options, messages = self._read(read_mapping(path))
        return {"options": dataclasses.asdict(options), "messages": as_json(messages)}

    def options(self, content: dict[str, Any]) -> TrainingOptions:
        """Options from the page, with every path checked."""
        options, _ = self._read(content)
        for name in (*MODEL_OPTIONS, *FOLDER_OPTIONS):
            text = getattr(options, name)
            if not text:
                continue
            path = Path(text).expanduser().absolute()
            is_model = name in MODEL_OPTIONS
            if is_model and path.suffix.lower() != ".safetensors":
                raise UserError(
                    "{file} is not a .safetensors model: choose another.",
                    file=path.name,
                    about=name,
                )
            real = check_folder(path, self.host, is_model=is_model)
            # A linked model keeps its name, and with it the .yaml that lies beside the link.
            setattr(options, name, str(path if is_model else real))
        options.output_dir = str(self.output_dir)
        if Path(options.sample_prompts).suffix in (
            ".txt",
            ".toml",
            ".json",
        ):  # then the trainer reads that file
            check_folder(Path(options.sample_prompts), self.host)
        return options

    def filled_in(self, content: dict[str, Any]) -> dict[str, Any]:
        """Options from outside as the page would have them.

        A model may be given by the name that the host lists it under; and what it needs in place
        of the recipe's stands there unless something else is asked for.
        """
        model = find_base_model(self.host.base_models(), str(content.get(MODEL_OPTIONS[0], "")))
        if model is None:
            return content
        return {**model.options, **content, MODEL_OPTIONS[0]: str(model.path)}

    def _read(self, content: dict[str, Any]) -> tuple[TrainingOptions, list[Message]]:
        """Options with messages; raises UserError before a file is opened that may not be."""
        # Translated first, for front ends' files name folders under names of their own.
        if (
            flatten(as_kohyas(content, [])).get("dataset_config")
            and self.host.open_folders() is not None
        ):
            raise UserError(
                "dataset_config can name any folder, so it is refused while others can reach "
                "this WebUI: set the options one by one.",
                about="dataset_config",
            )
        return from_mapping(content)


def declarations() -> list[Reply]:
    """The options as the page makes fields of them."""
    declared = []
    for option in dataclasses.fields(TrainingOptions):
        if option.name in HIDDEN_OPTIONS:
            continue
        kind, optional = option_type(option)
        default = getattr(TrainingOptions(), option.name)
        described = {"name": option.name, "type": kind.__name__, "optional": optional}
        declared.append({**described, "default": default, **option.metadata})
    return declared
