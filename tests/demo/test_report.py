import re
from pathlib import Path

import pytest
from PIL import Image

from lib_rimo.demo.charts import bar_chart, line_chart, scatter_chart
from lib_rimo.demo.measures import Answer, Check, mean
from lib_rimo.demo.report import Chart, Pictures, Report, Section, Table, Text, write_report


@pytest.fixture
def page(tmp_path: Path) -> str:
    picture = tmp_path / "pictures" / "a b.png"
    picture.parent.mkdir()
    Image.new("RGB", (8, 8)).save(picture)
    means = [mean([0.1, 0.2]), mean([0.5, 0.7])]
    section = Section(
        "one",
        "Strength <1>",
        'He said "more & more"',
        [Check("It rises.", "+0.40 ± 0.10", Answer.HOLDS), Check("Else.", "?", Answer.FAILS)],
        [
            Text("A paragraph."),
            Pictures([[picture, picture]], "A row.", ["r"], ["x", "y"], command="xyz <lora:a:1>"),
            Chart(line_chart([1, 2], [("identity", means)], x_label="s"), "A curve."),
            Table(["", "v"], [["a", "1"], ["b", "2"]], "Numbers.", marked=frozenset({1})),
        ],
    )
    report = Report(
        "Title",
        ["Lead."],
        [("Fact", "<x>")],
        [section],
        [("The LoRA", picture)],
        opening=Pictures([[picture]], "Before a word."),
        ending=[("Go on:", "rimo train <x>")],
    )
    write_report(report, tmp_path / "report.html")
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_everything_is_there_and_escaped(page: str) -> None:
    for text in ("Strength &lt;1&gt;", "more &amp; more", "A paragraph.", "A row.", "Numbers."):
        assert text in page
    assert "xyz &lt;lora:a:1&gt;" in page
    assert page.count('class="badge fails">does not hold') == 3  # the check, its claim, the summary
    assert page.count('<tr class="marked">') == 1


def test_opens_with_a_picture_and_ends_with_what_to_do(page: str) -> None:
    assert page.index("Before a word.") < page.index("Lead.") < page.index("Now yours")
    assert "rimo train &lt;x&gt;" in page[page.index("A curve.") :]


def test_needs_no_network(page: str) -> None:
    links = re.findall(r'(?:src|href)="([^"#][^"]*)"', page)
    assert set(links) == {"pictures/a b.png"}
    assert "http://" not in re.sub(r'(?:xmlns(?::\w+)?|rdf:\w+)="[^"]*"', "", page).replace(
        "http://www.w3.org/", ""
    )


def test_charts_take_the_pages_colour() -> None:
    means = [mean([0.1, 0.2]), mean([0.5, 0.7])]
    single = [mean([0.1]), mean([0.5])]
    for svg in (
        line_chart([1, 2], [("a", means), ("b", single)], x_label="x", logarithmic=True),
        bar_chart(["p", "q"], [("a", means), ("b", single)], y_label="y"),
        scatter_chart([("a", *means), ("b", *single)], x_label="x", y_label="y", marked="a"),
    ):
        assert svg.startswith("<svg")
        assert "currentColor" in svg
        assert "#010203" not in svg
        assert "#000000" not in svg
