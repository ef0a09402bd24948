"""The report's charts: SVG in the page's own text colour, so that they suit a dark page too."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from lib_rimo.demo.measures import Mean

# Stands for the page's text colour until the drawing is finished.
_INK = "#010203"
COLOURS = ("#8e5bd6", "#d9822b", "#2a9d8f")  # told apart on white and on black
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",  # text stays text, in the page's font
    "svg.hashsalt": "rimo",  # the same numbers give the same file
    "font.size": 10.5,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "grid.color": _INK,
    "grid.alpha": 0.12,
    "legend.frameon": False,
}

Series = Sequence[tuple[str, Sequence[Mean]]]


def line_chart(
    x: Sequence[float], series: Series, *, x_label: str, logarithmic: bool = False
) -> str:
    """Curves of means over `x` with their 95 % range as a band."""
    with rc_context(_STYLE):
        figure, axes = _figure(7.6, 3.4)
        for (name, means), colour in zip(series, COLOURS, strict=False):
            axes.plot(x, [m.value for m in means], "o-", color=colour, ms=4, lw=1.8, label=name)
            if all(m.count > 1 for m in means):
                low, high = [m.low for m in means], [m.high for m in means]
                axes.fill_between(x, low, high, color=colour, alpha=0.16, lw=0)
        if logarithmic:
            axes.set_xscale("log", base=2)
        axes.set_xticks(x, [f"{value:g}" for value in x])
        axes.minorticks_off()
        axes.set_xlabel(x_label)
        axes.set_ylim(-0.02, 1.02)
        axes.grid(axis="y")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return _svg(figure)


def bar_chart(names: Sequence[str], series: Series, *, y_label: str) -> str:
    """Bars of each name, side by side for each series, with their 95 % range."""
    with rc_context(_STYLE):
        figure, axes = _figure(9.6, 3.4)
        width = 0.8 / len(series)
        for index, ((name, means), colour) in enumerate(zip(series, COLOURS, strict=False)):
            places = [p + (index - (len(series) - 1) / 2) * width for p in range(len(names))]
            axes.bar(
                places,
                [m.value for m in means],
                width * 0.92,
                yerr=[m.margin if m.count > 1 else 0 for m in means],
                color=colour,
                error_kw={"ecolor": _INK, "elinewidth": 0.7, "alpha": 0.6},
                label=name,
            )
        axes.axhline(0, color=_INK, lw=0.6)
        axes.set_xticks(range(len(names)), names, rotation=45 if len(names) > 8 else 0)
        axes.set_ylabel(y_label)
        axes.grid(axis="y")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=len(series))
        return _svg(figure)


def scatter_chart(
    points: Sequence[tuple[str, Mean, Mean]], *, x_label: str, y_label: str, marked: str = ""
) -> str:
    """Named points with their 95 % range both ways; `marked` stands out."""
    with rc_context(_STYLE):
        figure, axes = _figure(7.2, 4.4)
        for name, x, y in points:
            stands_out = name == marked
            axes.errorbar(
                x.value,
                y.value,
                xerr=x.margin if x.count > 1 else None,
                yerr=y.margin if y.count > 1 else None,
                fmt="o",
                ms=8 if stands_out else 5,
                color=COLOURS[0] if stands_out else COLOURS[1],
                elinewidth=0.7,
            )
            axes.annotate(name, (x.value, y.value), (6, 5), textcoords="offset points", fontsize=9)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.grid()
        return _svg(figure)


def curve_chart(
    curves: Mapping[str, Sequence[tuple[float, float]]],
    *,
    x_label: str,
    y_label: str,
    level: tuple[str, float],
) -> str:
    """Named curves through their points, and a named level of comparison across."""
    with rc_context(_STYLE):
        figure, axes = _figure(9.0, 4.4)
        for index, (name, points) in enumerate(curves.items()):
            x, y = zip(*points, strict=True)
            axes.plot(x, y, "o-", color=f"C{index}", ms=4, lw=1.5, label=name)
        axes.axhline(level[1], color=_INK, lw=0.6, ls="--", label=level[0])
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.grid()
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return _svg(figure)


def _figure(width: float, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _svg(figure: Figure) -> str:
    """The drawing as an element to stand in a page."""
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    text = out.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor")
    return re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", text)
