"""Recipes that people keep under a name: options that say how to train, not what."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from lib_rimo.errors import UserError
from lib_rimo.files import written_beside
from lib_rimo.messages import Message, Tell
from lib_rimo.training.config.built_in import BUILT_IN
from lib_rimo.training.config.documents import read_mapping
from lib_rimo.training.config.job_file import from_mapping
from lib_rimo.training.config.options import TrainingOptions


def recipe_of(options: TrainingOptions) -> dict[str, Any]:
    """The part of the options that is a recipe."""
    return {
        declared.name: getattr(options, declared.name)
        for declared in dataclasses.fields(options)
        if declared.metadata["group"] != "essentials"
    }


def load_recipes(folder: Path, tell: Tell) -> dict[str, dict[str, Any]]:
    """All recipes by name, the built-in ones first; of a file that is none is told."""
    recipes = {
        name: recipe_of(TrainingOptions(**recipe.options)) for name, recipe in BUILT_IN.items()
    }
    for path in sorted(folder.glob("*.json")):
        try:
            options, _ = from_mapping(read_mapping(path))
        except (ValueError, TypeError, AttributeError, RecursionError, UserError) as error:
            reason = error if isinstance(error, UserError) else type(error).__name__
            damaged = "The recipe {file} cannot be read ({reason}): mend or delete it."
            tell(Message(damaged, about=path.name, level="warning", file=path.name, reason=reason))
            continue
        recipes[path.stem] = recipe_of(options)
    return recipes


def save_recipe(folder: Path, name: str, options: TrainingOptions) -> None:
    """Keep a recipe; raises UserError for a name that cannot be a file's."""
    name = name.strip()
    if not name or name.startswith(".") or set(name) & set('/\\:*?"<>|') or name in BUILT_IN:
        raise UserError(
            "{name} cannot name a recipe: use another name, without {signs}.",
            name=repr(name),
            signs='/ \\ : * ? " < > |',
        )
    content = json.dumps(recipe_of(options), indent=1, ensure_ascii=False)
    with written_beside(folder / f"{name}.json") as beside:
        beside.write_text(content, encoding="utf-8")
