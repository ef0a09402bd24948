"""Rimo's axes in the host's own X/Y/Z plot; what they mean is in `lib_rimo.weights.axes`."""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from fastapi import HTTPException

from lib_rimo.errors import UserError
from lib_rimo.weights.axes import AXES, Axis, AxisValue, apply_values, check_values
from lib_rimo.weights.presets import Presets

# Where a cell's copy of the picture's settings keeps the values to write into its prompts.
_VALUES = "rimo_axis_values"


class AxisError(UserError, HTTPException):
    """Values that an axis refuses.

    The page shows the name of an error and its text. The API hands on an HTTP error alone; any
    other one has to pass libraries that, in some versions, put one without the sentence around it.
    """

    def __init__(self, sentence: str) -> None:
        """`sentence` says what to do, as in any `UserError`."""
        HTTPException.__init__(self, 422, sentence)

    def __str__(self) -> str:
        return str(self.detail)


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise AxisError(str(error)) from None


def add_axes(
    scripts_data: Iterable[Any],
    presets: Callable[[], Presets],
    files: Callable[[], Collection[str]],
    styled: Callable[[Any], str],
) -> None:
    """Add the axes to every script that offers some, once.

    `files` gives the names that tags can have, `styled` a picture's prompt with its styles.
    """
    for data in scripts_data:
        options = getattr(data.module, "axis_options", None)
        if isinstance(options, list) and hasattr(data.module, "AxisOption"):
            present = {option.label for option in options}
            options += [
                _option(data.module.AxisOption, axis, presets, files, styled)
                for axis in AXES.values()
                if axis.name not in present
            ]


def _option(
    option: Callable[..., Any],
    axis: Axis,
    presets: Callable[[], Presets],
    files: Callable[[], Collection[str]],
    styled: Callable[[Any], str],
) -> Any:
    def prepare(text: str) -> list[AxisValue]:
        with _refusing():
            return list(axis.parse(text, presets()))

    def confirm(p: Any, values: Collection[AxisValue]) -> None:
        with _refusing():
            check_values(values, styled(p), presets(), files())

    return option(
        axis.name,
        _as_it_is,
        _remember,
        format_value=_label,
        confirm=confirm,
        cost=axis.cost,
        prepare=prepare,
    )


def _as_it_is(value: AxisValue) -> AxisValue:
    return value


def _remember(p: Any, value: AxisValue, _values: Collection[AxisValue]) -> None:
    # The axes of a cell are taken together; and copies of p share its lists.
    setattr(p, _VALUES, [*getattr(p, _VALUES, []), value])


def _label(_p: Any, _option: Any, value: AxisValue) -> str:
    return value.label


def write_prompts(p: Any, presets: Callable[[], Presets]) -> None:
    """Write a cell's values into the tags of all its prompts, the second pass's too."""
    values = getattr(p, _VALUES, [])
    if not values:
        return
    write = partial(apply_values, values=values, presets=presets())
    p.prompt = write(p.prompt) if isinstance(p.prompt, str) else [write(text) for text in p.prompt]
    p.main_prompt = write(p.main_prompt)
    p.all_prompts = [write(text) for text in p.all_prompts]
    if getattr(p, "all_hr_prompts", None):
        p.all_hr_prompts = [write(text) for text in p.all_hr_prompts]
