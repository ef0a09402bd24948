"""TOML and JSON files as the user writes them."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from lib_rimo.errors import UserError
from lib_rimo.text import parse_json

# A path of Windows inside double quotes, its backslashes single: C:\pictures, .\pictures, \\nas\x.
_WINDOWS_PATH = re.compile(r'"((?:[A-Za-z]:\\(?!\\)|\.{1,2}\\(?!\\)|\\\\(?!\\))[^"\n]*)"')


def read_mapping(path: Path) -> dict[str, Any]:
    """The content of a TOML or JSON file; paths of Windows may be written as they are."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(
            "{file} cannot be read ({reason}): check the path.", file=path, reason=error.strerror
        ) from None
    except UnicodeDecodeError:
        raise UserError("{file} is not UTF-8 text; save it as UTF-8.", file=path.name) from None
    return parse_mapping(text, path.name, is_json=path.suffix.lower() == ".json")


def parse_mapping(text: str, name: str, *, is_json: bool) -> dict[str, Any]:
    """The same of a text, which sentences call by `name`."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    text = _WINDOWS_PATH.sub(lambda found: found[0].replace("\\", "\\\\"), text)
    try:
        content: Any = parse_json(text) if is_json else tomllib.loads(text)
    except ValueError as error:  # both parsers' errors are ValueErrors
        raise UserError("{file} is not valid: {error}.", file=name, error=error) from None
    except RecursionError:  # TOML's
        deep = "it is nested too deep"
        raise UserError("{file} is not valid: {error}.", file=name, error=deep) from None
    if not isinstance(content, dict):
        raise UserError("{file} is not valid: it must hold names and values.", file=name)
    return content
