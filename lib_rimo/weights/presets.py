"""Named block weights: the text files of sd-webui-lora-block-weight, read and written.

`lbwpresets.txt` holds `NAME:1,1,0.5,...` lines, `elempresets.txt` groups of
`NAME:BLOCKS:WORDS:VALUE` rules with an empty line between them. Anything else is a comment.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from lib_rimo.errors import UserError
from lib_rimo.files import written_beside
from lib_rimo.lora.blocks import LAYOUTS

BLOCKS_FILE = "lbwpresets.txt"
ELEMENTS_FILE = "elempresets.txt"

AUTHORS_VECTOR = "1,1,1,1,1,0.8,0.2,1,1,1,1,1,1,1,1,1,1"
"""What the recipe's author draws with."""

_DEFAULT_BLOCKS = """\
NONE:0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0
ALL:1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1
INS:1,1,1,1,0,0,0,0,0,0,0,0,0,0,0,0,0
IND:1,0,0,0,1,1,1,0,0,0,0,0,0,0,0,0,0
INALL:1,1,1,1,1,1,1,0,0,0,0,0,0,0,0,0,0
MIDD:1,0,0,0,1,1,1,1,1,1,1,1,0,0,0,0,0
OUTD:1,0,0,0,0,0,0,0,1,1,1,1,0,0,0,0,0
OUTS:1,0,0,0,0,0,0,0,0,0,0,0,1,1,1,1,1
OUTALL:1,0,0,0,0,0,0,0,1,1,1,1,1,1,1,1,1
ALL0.5:0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5
"""
_DEFAULT_ELEMENTS = """\
ATTNDEEPON:IN05-OUT05:attn:1

ATTNDEEPOFF:IN05-OUT05:attn:0

PROJDEEPOFF:IN05-OUT05:proj:0
"""


def parse_block_presets(text: str) -> dict[str, str]:
    """Read a file of block presets: name -> block values, as written."""
    presets = {}
    for line in text.splitlines():
        name, colon, values = line.partition(":")
        is_preset = "@" in values or values.count(",") + 1 in LAYOUTS
        if colon and is_preset and "#" not in line and name.strip():
            presets[name.strip()] = values.strip()
    return presets


def parse_element_presets(text: str) -> dict[str, str]:
    """Read a file of element presets: name -> rules, as written."""
    groups = (group.strip().partition(":") for group in re.split(r"\n\s*\n", text))
    return {name.strip(): rules for name, colon, rules in groups if colon and name.strip()}


@dataclass(frozen=True)
class Presets:
    """What a name in a tag stands for: `blocks` after `lbw=`, `elements` after `lbwe=`."""

    blocks: Mapping[str, str] = field(default_factory=dict)
    elements: Mapping[str, str] = field(default_factory=dict)


DEFAULT_PRESETS = Presets(
    MappingProxyType(parse_block_presets(_DEFAULT_BLOCKS)),
    MappingProxyType(parse_element_presets(_DEFAULT_ELEMENTS)),
)


def load_presets(folders: Iterable[Path]) -> Presets:
    """The presets of the files in some folders; later folders win, the built-in ones come first.

    A folder or file that isn't there, or cannot be read, adds nothing.
    """
    blocks = dict(DEFAULT_PRESETS.blocks)
    elements = dict(DEFAULT_PRESETS.elements)
    for folder in folders:
        blocks |= parse_block_presets(_read(folder / BLOCKS_FILE))
        elements |= parse_element_presets(_read(folder / ELEMENTS_FILE))
    return Presets(blocks, elements)


def lbw_folders(webui: Path) -> list[Path]:
    """Where sd-webui-lora-block-weight keeps its presets under a WebUI's root folder."""
    extensions = sorted(webui.glob(f"extensions/*/scripts/{BLOCKS_FILE}"))
    return [webui / "scripts", *(path.parent for path in extensions)]


def save_preset(folder: Path, name: str, values: str) -> None:
    """Write a block preset into a folder's file, in place of one of the same name.

    All other lines stay as they are. Raises UserError when the name cannot stand in a tag.
    """
    name = name.strip()
    if not name or re.search(r"[:,;@=#<>\"\s]", name) or re.fullmatch(r"[\d.+-]+", name):
        raise UserError(
            '"{name}" cannot name a preset: use letters and digits, without spaces and :,;@=#<>".',
            name=name,
        )
    path = folder / BLOCKS_FILE
    line = f"{name}:{values}"
    lines = _read(path).splitlines()
    places = [i for i, old in enumerate(lines) if name in parse_block_presets(old)]
    if places:
        lines[places[-1]] = line  # the last one is the one that counts
    else:
        lines.append(line)
    with written_beside(path) as beside:
        beside.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError:
        return ""
