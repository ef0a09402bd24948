"""sd-webui-lora-block-weight beside Rimo: nothing may be applied twice.

Rimo reads that extension's `lbw=` too and takes such tags over, so that it finds nothing to do.
Only where a tag can be read by it alone (the placeholder of its own plot, a preset that is in its
panel only), all block weights of that picture are left to it.
"""

from collections.abc import Sequence
from typing import Any

from lib_rimo.hosts.activation import ReadTag
from lib_rimo.weights.block_weights import BlockWeights

# Copies of it that hosts bring have titles of their own, but its file's name, and what the script
# keeps of a picture's tags.
_FILE = "lora_block_weight"
_KEPT = ("startsf", "stopsf", "lf", "ef")


def is_installed(scripts_data: Sequence[Any]) -> bool:
    """Whether the host has loaded the extension."""
    return any(_FILE in str(data.path) for data in scripts_data)


def is_active(p: Any) -> bool:
    """Whether the extension acts on a picture: its panel's box is ticked."""
    for script in getattr(p.scripts, "alwayson_scripts", ()):
        if _FILE in str(script.filename) or all(hasattr(script, name) for name in _KEPT):
            # The box is the second argument, behind the presets, or the first in ersatzForge.
            arguments = p.script_args[script.args_from : script.args_to][:2]
            boxes = [value for value in arguments if isinstance(value, bool)]
            return boxes[0] if boxes else arguments[1:] == [None]
    return False


def could_read(items: Sequence[str]) -> bool:
    """Whether a tag that Rimo cannot read is in the extension's own form."""
    return any(item.startswith(("lbw=", "w=")) for item in items[1:])


def items_for(read: ReadTag) -> list[str]:
    """A tag in the extension's form, if it is in another one."""
    blocks = read.tag.blocks
    if blocks is None or could_read(read.items):
        return list(read.items)
    items = [read.tag.name, repr(read.tag.te), repr(read.tag.unet), f"lbw={blocks.vector(26)}"]
    return items + _steps(blocks)


def _steps(blocks: BlockWeights) -> list[str]:
    items = [f"start={blocks.start}"] if blocks.start else []
    return items + ([f"stop={blocks.stop}"] if blocks.stop is not None else [])
