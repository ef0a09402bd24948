"""What each block does, in pictures: laid out as the UNet is, as the panel's sliders are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PIL import Image

from lib_rimo.inference.grid import captioned
from lib_rimo.lora.blocks import IN_BLOCKS, OUT_BLOCKS
from lib_rimo.scoring.block_search import Effect

GAP = 6


def rows_of(blocks: Sequence[str], depth: int) -> list[tuple[str | None, ...]]:
    """The blocks that a skip connection joins, side by side, from the top of the UNet down.

    BASE stands alone above them, M00 below; `depth` is how many blocks lead down, 9 or 12. None for
    a block that is not among `blocks`.
    """
    pairs = [(IN_BLOCKS[row], OUT_BLOCKS[depth - 1 - row]) for row in range(depth)]
    rows: list[tuple[str, ...]] = [("BASE",), *pairs, ("M00",)]
    shown = [tuple(block if block in blocks else None for block in row) for row in rows]
    return [row for row in shown if any(row)]


def draw_effects(
    before: Sequence[tuple[str, Image.Image]],
    effects: Sequence[Effect],
    pictures: Mapping[str, Image.Image],
    depth: int,
) -> Image.Image:
    """A picture without each block, with its numbers; `before` stands in the first row.

    `pictures` are by block, all of one size.
    """
    cells = {
        effect.block: captioned(
            pictures[effect.block],
            f"without {effect.block}",
            f"fit {-effect.fit_lost:+.0%}, keeping {effect.keeping_gained:+.2f}",
        )
        for effect in effects
    }
    first = [captioned(picture, text, " ") for text, picture in before]
    rows = [[cells.get(block or "") for block in row] for row in rows_of(list(cells), depth)]
    return _laid_out([first, *rows])


def _laid_out(rows: Sequence[Sequence[Image.Image | None]]) -> Image.Image:
    """Pictures in rows, each row in the middle; None leaves a place free."""
    cells = [cell for row in rows for cell in row if cell is not None]
    width = max(cell.width for cell in cells) + GAP
    height = max(cell.height for cell in cells) + GAP
    columns = max(map(len, rows))
    whole = Image.new("RGB", (columns * width + GAP, len(rows) * height + GAP), "white")
    for number, row in enumerate(rows):
        left = (columns - len(row)) * width // 2
        for place, cell in enumerate(row):
            if cell is not None:
                whole.paste(cell, (GAP + left + place * width, GAP + number * height))
    return whole
