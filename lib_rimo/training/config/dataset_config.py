"""kohya's `dataset_config`: a TOML (or JSON) file of datasets and their folders.

    [general]
    shuffle_caption = true
    [[datasets]]
    resolution = 512
      [[datasets.subsets]]
      image_dir = "pictures"
      num_repeats = 10
      class_tokens = "rimochan girl"

Options of `[general]` and of a dataset become options of the whole training; so do those of the
subsets where all agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib_rimo.errors import UserError
from lib_rimo.training.config.documents import read_mapping

_OF_A_SUBSET = frozenset({"image_dir", "num_repeats", "class_tokens", "is_reg"})


@dataclass(frozen=True)
class Subset:
    """A folder of pictures as the file names it; names and meanings are kohya's."""

    image_dir: Path
    num_repeats: int
    class_tokens: str
    is_reg: bool


@dataclass
class DatasetConfig:
    """What a file asks for: folders, options of the training, and what could not be taken."""

    subsets: list[Subset] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def read_dataset_config(path: Path) -> DatasetConfig:
    """Read a file. Raises UserError, naming it, where it cannot be read or names no folder."""
    content, where = read_mapping(path), path.name
    config = DatasetConfig()
    datasets = _tables(content, "datasets", where)
    subsets = [subset for dataset in datasets for subset in _tables(dataset, "subsets", where)]
    if not subsets:
        raise UserError(f"{where} names no folders: write [[datasets.subsets]] with image_dir.")
    for subset in subsets:
        if "image_dir" not in subset:
            raise UserError(f"{where} has a subset without image_dir: only folders are supported.")
        config.subsets.append(
            Subset(
                Path(str(subset["image_dir"])),
                _repeats(subset.get("num_repeats", 1), where),
                str(subset.get("class_tokens", "")),
                bool(subset.get("is_reg", False)),
            )
        )
    general = content.get("general", {})
    if not isinstance(general, Mapping):
        raise UserError(f"{where}: write [general] as a section.")
    config.options |= general
    for part in (datasets, subsets):
        _agree(config, part)
    if "batch_size" in config.options:
        config.options["train_batch_size"] = config.options.pop("batch_size")
    return config


def _tables(content: Mapping[str, Any], name: str, where: str) -> list[Mapping[str, Any]]:
    tables = content.get(name, [])
    if not isinstance(tables, list) or not all(isinstance(table, Mapping) for table in tables):
        raise UserError(f"{where}: write {name} as sections, [[...]].")
    return tables


def _repeats(value: Any, where: str) -> int:
    if not isinstance(value, int) or value < 0:
        raise UserError(f"{where}: num_repeats is {value!r}: use a whole number.")
    return value


def _agree(config: DatasetConfig, parts: list[Mapping[str, Any]]) -> None:
    """Take the options that all parts share; the others would need a training each."""
    names = {name for part in parts for name in part} - _OF_A_SUBSET - {"subsets"}
    for name in sorted(names):
        values = [part.get(name, config.options.get(name)) for part in parts]
        config.options[name] = values[0]
        if any(value != values[0] for value in values):
            config.warnings.append(
                f"{name} differs between the datasets ({', '.join(map(str, values))}): "
                f"{values[0]} is used for all."
            )
