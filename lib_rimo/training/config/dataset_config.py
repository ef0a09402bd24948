"""kohya's `dataset_config`: a TOML (or JSON) file of datasets and their folders.

    [general]
    shuffle_caption = true
    [[datasets]]
    resolution = 512
      [[datasets.subsets]]
      image_dir = "pictures"
      num_repeats = 10
      class_tokens = "rimochan girl"

As in kohya's trainer a subset's own value counts before its dataset's, that before `[general]`'s,
and all of them before the job file's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib_rimo.errors import UserError
from lib_rimo.messages import Message
from lib_rimo.training.config.documents import parse_mapping, read_mapping

_OF_A_SUBSET = frozenset({"image_dir", "num_repeats", "class_tokens", "is_reg"})
_RENAMED = {"batch_size": "train_batch_size", "alpha_mask": "masked_loss"}

OWN_OPTIONS = frozenset(
    {
        "bucket_no_upscale",
        "bucket_reso_steps",
        "caption_dropout_every_n_epochs",
        "caption_dropout_rate",
        "caption_extension",
        "caption_prefix",
        "caption_separator",
        "caption_suffix",
        "caption_tag_dropout_rate",
        "conditioning_data_dir",
        "enable_bucket",
        "enable_wildcard",
        "flip_aug",
        "keep_tokens",
        "keep_tokens_separator",
        "max_bucket_reso",
        "min_bucket_reso",
        "resolution",
        "secondary_separator",
        "shuffle_caption",
    }
)
"""What a folder may have otherwise than the rest of the training."""


@dataclass(frozen=True)
class Subset:
    """A folder of pictures as the file names it; names and meanings are kohya's."""

    image_dir: Path
    num_repeats: int
    class_tokens: str
    is_reg: bool
    own: Mapping[str, Any] = field(default_factory=dict)
    """Options that count for this folder only."""


@dataclass
class DatasetConfig:
    """What a file asks for: folders, options of the training, and what could not be taken."""

    name: str
    """What to call it in sentences."""
    subsets: list[Subset] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)


def read_dataset_config(source: str | Path) -> DatasetConfig:
    """Read a file, or its content written out as JSON.

    Raises UserError, naming it, where it cannot be read or names no folder.
    """
    if str(source).lstrip().startswith("{"):
        where = "dataset_config"
        content = parse_mapping(str(source), where, is_json=True)
    else:
        content, where = read_mapping(Path(source)), Path(source).name
    config = DatasetConfig(where)
    general = content.get("general", {})
    if not isinstance(general, Mapping):
        raise UserError("{where}: write [general] as a section.", where=where)
    merged = [
        {**general, **dataset, **subset}
        for dataset in tables(content, "datasets", where)
        for subset in tables(dataset, "subsets", where)
    ]
    if not merged:
        raise UserError(
            "{where} names no folders: write [[datasets.subsets]] with image_dir.", where=where
        )
    config.messages += [
        Message(
            "{where}: {name} = {value} is outside of [general] and [[datasets]] and was left out.",
            where=where,
            name=name,
            value=repr(value),
            level="warning",
        )
        for name, value in content.items()
        if name not in ("general", "datasets")
    ]
    take_subsets(config, merged, where)
    return config


def take_subsets(config: DatasetConfig, merged: list[dict[str, Any]], where: str) -> None:
    """Add folders, each with all the options that count for it, and what they have in common."""
    for options in merged:
        options.pop("subsets", None)
        if options.get("metadata_file"):
            raise UserError(
                "{where} takes captions from metadata_file {file}, which is not supported: "
                "write each caption beside its picture, 1.txt for 1.png.",
                where=where,
                file=options["metadata_file"],
            )
        if "image_dir" not in options:
            raise UserError(
                "{where} has a subset without image_dir: only folders are supported.", where=where
            )
        for theirs, ours in _RENAMED.items():
            if theirs in options:
                options[ours] = options.pop(theirs)
    names = sorted({name for options in merged for name in options} - _OF_A_SUBSET)
    owned = [name for name in names if _differs(name, merged)]
    for name in names:
        if name not in owned:
            config.options[name] = merged[0][name]
        elif name not in OWN_OPTIONS:
            values = [options.get(name) for options in merged]
            config.options[name] = next(value for value in values if value is not None)
            config.messages.append(
                Message(
                    "{name} differs between the datasets ({values}): {used} is used for all.",
                    name=name,
                    values=[str(value) for value in values],
                    used=str(config.options[name]),
                    level="warning",
                )
            )
    for options in merged:
        own = {name: options[name] for name in owned if name in options and name in OWN_OPTIONS}
        config.subsets.append(
            Subset(
                Path(str(options["image_dir"])),
                _repeats(options.get("num_repeats", 1), where),
                str(options.get("class_tokens") or ""),
                bool(options.get("is_reg", False)),
                own,
            )
        )


def _differs(name: str, merged: list[dict[str, Any]]) -> bool:
    return any(name not in options or options[name] != merged[0].get(name) for options in merged)


def tables(content: Mapping[str, Any], name: str, where: str) -> list[Mapping[str, Any]]:
    """The sections `[[name]]` of a file; raises UserError for what is written otherwise."""
    found = content.get(name, [])
    if not isinstance(found, list) or not all(isinstance(table, Mapping) for table in found):
        raise UserError("{where}: write {name} as sections, [[...]].", where=where, name=name)
    return found


def _repeats(value: Any, where: str) -> int:
    if not isinstance(value, int) or value < 0:
        raise UserError(
            "{where}: num_repeats is {value}: use a whole number.", where=where, value=repr(value)
        )
    return value
