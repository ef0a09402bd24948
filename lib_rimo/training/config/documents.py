"""TOML and JSON files as the user writes them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from lib_rimo.errors import UserError


def read_mapping(path: Path) -> dict[str, Any]:
    """The content of a TOML or JSON file."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        text = path.read_text(encoding="utf-8-sig")
        is_json = path.suffix.lower() == ".json"
        content: Any = json.loads(text) if is_json else tomllib.loads(text)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): check the path.") from None
    except ValueError as error:  # both parsers' errors are ValueErrors
        raise UserError(f"{path.name} is not valid: {error}.") from None
    if not isinstance(content, dict):
        raise UserError(f"{path.name} is not valid: it must hold names and values.")
    return content
