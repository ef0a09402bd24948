"""The report: one page of HTML with its pictures beside it, readable without a network."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lib_rimo.demo.measures import Answer, Check, all_of
from lib_rimo.files import written_beside

TEMPLATE = Path(__file__).with_name("report.html.jinja")


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: str = "text"


@dataclass(frozen=True)
class Pictures:
    """Pictures in rows and columns; labels may be empty."""

    rows: Sequence[Sequence[Path]]
    caption: str
    row_labels: Sequence[str] = ()
    column_labels: Sequence[str] = ()
    command: str = ""
    kind: str = "pictures"


@dataclass(frozen=True)
class Chart:
    """A drawing as SVG that takes the page's text colour."""

    svg: str
    caption: str
    command: str = ""
    kind: str = "chart"


@dataclass(frozen=True)
class Table:
    """A table; the first column names the rows, the others hold numbers."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str
    command: str = ""
    marked: frozenset[int] = frozenset()  # rows that stand out
    kind: str = "table"


Item = Text | Pictures | Chart | Table


@dataclass(frozen=True)
class Section:
    """One claim: what is said, what was measured, whether it holds here."""

    key: str
    title: str
    claim: str
    checks: Sequence[Check] = ()
    items: Sequence[Item] = ()

    @property
    def answer(self) -> Answer | None:
        """Whether the claim holds on this world; None where nothing is claimed."""
        return all_of(self.checks) if self.checks else None


@dataclass(frozen=True)
class Report:
    """The whole page."""

    title: str
    lead: Sequence[str]
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section]
    files: Sequence[tuple[str, Path]] = field(default=())  # what else lies in the folder
    opening: Pictures | None = None
    """What the page begins with: the result, before a word is read."""
    ending: Sequence[tuple[str, str]] = ()
    """What to do next: a sentence, and the command for it."""


def write_report(report: Report, path: Path) -> None:
    """Write the page; pictures are linked relative to it."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["link"] = lambda target: Path(
        os.path.relpath(target, path.parent)
    ).as_posix()
    environment.filters["svg"] = Markup
    page = environment.get_template(TEMPLATE.name).render(report=report)
    with written_beside(path) as beside:
        beside.write_text(page, encoding="utf-8")
