"""What a base model was made for, told by its file's header: family, size, prediction.

Nothing here needs PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from lib_rimo.errors import UserError
from lib_rimo.sd import embedded
from lib_rimo.sd.family import (
    NATIVE_SIDE,
    Family,
    PredictionType,
    detect_family,
    modern_key,
    stated_prediction_type,
)
from lib_rimo.sd.file_header import read_header
from lib_rimo.sd.size import Size

# Standing pictures of about as many pixels as the family's square ones; SD1's is the recipe's own,
# SDXL's one of the sizes that it was trained on (its report, appendix I).
STANDING: dict[Family, Size] = {"sd1": (448, 704), "sd2": (640, 896), "sdxl": (832, 1216)}


@dataclass(frozen=True)
class Native:
    """What a base model was made for."""

    family: Family
    size: Size
    """Width and height in pixels of pictures that it draws well."""
    standing: Size
    """The same for standing pictures of a character."""
    prediction_type: PredictionType | None
    """As the file states it; None where it says nothing."""
    is_demonstration: bool
    """The small model that comes with Rimo, which knows one drawn world alone."""


def native_of(path: Path) -> Native:
    """What a model was made for. Raises UserError for what is no model that can be read."""
    try:
        return _native_of(path, path.stat().st_mtime_ns)
    except OSError:
        raise UserError("There is no base model {file}: choose another.", file=path) from None
    except ValueError:
        raise UserError(
            "{file} is not a .safetensors model: choose another.", file=path.name
        ) from None


@lru_cache(maxsize=256)
def _native_of(path: Path, _time: int) -> Native:
    header = read_header(path)
    shapes = {modern_key(key): shape for key, shape in header.shapes.items()}
    family = detect_family(shapes, path.name)
    predicted = stated_prediction_type(shapes, header.metadata, {})
    if embedded.is_embedded(path):
        return Native(family, embedded.RESOLUTION, embedded.RESOLUTION, predicted, True)
    side = NATIVE_SIDE[family]
    return Native(family, (side, side), STANDING[family], predicted, False)
