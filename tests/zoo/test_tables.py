import csv
import html.parser

import pytest

from zoo import tables
from zoo.tables import Column, Group, render

pytestmark = pytest.mark.quick
COLUMNS = [Column("name"), Column("size", "{:,}".format, number=True)]
GROUPS = [Group("A & B", [("a_1", 1000)]), Group("", [("50 %|", 20)])]


def test_text():
    lines = ["name    size", "[A & B]", "a_1    1,000", "50 %|     20"]
    assert render(COLUMNS, GROUPS, "table").splitlines() == lines


def test_markdown():
    assert render(COLUMNS, GROUPS, "markdown").splitlines() == [
        "| name | size |",
        "| --- | ---: |",
        "| **A & B** |  |",
        "| a_1 | 1,000 |",
        "| 50 %\\| | 20 |",
    ]


def test_csv_has_numbers_as_they_are_and_groups_in_a_column():
    assert list(csv.reader(render(COLUMNS, GROUPS, "csv", key="group").splitlines())) == [
        ["group", "name", "size"],
        ["A & B", "a_1", "1000"],
        ["", "50 %|", "20"],
    ]


def test_latex_escapes_its_signs():
    lines = render(COLUMNS, GROUPS, "latex").splitlines()
    assert lines[0] == r"\begin{tabular}{lr}" and lines[-1] == r"\end{tabular}"
    assert r"\multicolumn{2}{l}{\textbf{A \& B}} \\" in lines and r"a\_1 & 1,000 \\" in lines


class Cells(html.parser.HTMLParser):
    """The texts of a table, and whether every element that is opened is closed."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts += [data] * bool(data.strip())


def test_html():
    cells = Cells(render(COLUMNS, GROUPS, "html"))
    assert cells.texts == ["name", "size", "A & B", "a_1", "1,000", "50 %|", "20"]
    assert not cells.open


def test_another_form_is_refused():
    with pytest.raises(ValueError, match="'pdf' of tables: " + ", ".join(tables.FORMS)):
        render(COLUMNS, GROUPS, "pdf")
