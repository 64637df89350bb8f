"""The book of the lectures: every figure is computed, or it is said why not; none is typed in."""

import csv
import dataclasses
import re

import numpy as np
import pytest

import zoo
from zoo import registry

CHAPTERS = ("convolution", "first_networks", "deeper", "transformers", "training")
# Tables that take longer than a look; the site makes all of them, and so does `-m full`.
SLOW = {"backward", "cait", "complexity", "efficientnet", "googlenet", "ilsvrc", "inception_v3"}
SLOW |= {"picture", "resnet", "senet", "survey"}


@pytest.fixture(scope="module")
def book(tool):
    return tool("book")


@pytest.mark.parametrize(
    ("figure", "value", "expected"),
    [
        ("270", 270, ("✓", "270")),
        ("19,353,600", 18_432_020, ("✗", "18,432,020")),
        ("60 M", 60_965_224, ("≈", "61.0 M")),
        ("61 M", 60_965_224, ("✓", "61.0 M")),
        ("24 M", 15_237_608, ("✗", "15.2 M")),
        ("93 MB", 58 * 2**20, ("✗", "58.0 MB")),
        ("2.78 x", 25 / 9, ("✓", "2.778 x")),
        ("2", 1.92, ("✓", "1.9")),
        ("78 %", 78.09, ("✓", "78.1 %")),
        ("[[19, 25]]", np.array([[19.0, 25.0]]), ("✓", "[[19, 25]]")),
        ("(0.98, 0.84)", (0.9804, 0.8451), ("✗", "(0.98, 0.85)")),
        ("[1, 2]", [1, 2, 3], ("✗", "[1, 2, 3]")),
        ("55x55x96", (55, 55, 96), ("✓", "55x55x96")),
        ("7x7", "5x5", ("✗", "5x5")),
        ("4.20 %", None, ("–", "")),
    ],
)
def test_a_figure_and_ours(book, figure, value, expected):
    assert book.compare(figure, value) == expected


def test_a_figure_that_is_no_number_is_told(book):
    with pytest.raises(ValueError, match="'about 5' of figures.csv is no number"):
        book.compare("about 5", 5)


def test_every_table_is_in_a_chapter(book):
    text = "".join((book.FOLDER / f"{name}.md").read_text() for name in CHAPTERS)
    markers = book.MARKER.findall(text)
    assert tuple(book.CHAPTERS) == CHAPTERS
    assert {key for kind, key, _ in markers if kind == "figures"} == {
        figure.table for figure in book.figures()
    }
    for figure in book.figures():
        assert re.match("[A-E](, [A-E])*: ", figure.place) and figure.figure


def markers(chapter: str) -> list[tuple[str, str]]:
    import pathlib

    page = pathlib.Path(__file__).parents[2] / f"docs/lectures/{chapter}.md"
    return re.findall(r"<!-- (figures|text|picture): (\w+)", page.read_text())


CASES = [
    pytest.param(*case, marks=[pytest.mark.full] if case[2] in SLOW else [])
    for case in ((chapter, *marker) for chapter in CHAPTERS for marker in markers(chapter))
]


@pytest.mark.parametrize(("chapter", "kind", "key"), CASES)
def test_what_is_wrong_says_why(book, chapter, kind, key):
    """A mark and its reason belong together: nothing is wrong without one."""
    module = book.chapter(chapter)
    if kind == "picture":
        assert getattr(module, key)().startswith(b"<?xml") or b"<svg" in getattr(module, key)()
        return
    if kind == "text":
        lines = getattr(module, key)(book.compare).splitlines()
        assert len({line.count("|") for line in lines}) == 1
        for line in lines:
            assert "✗" not in line or line.rstrip(" |").split("|")[-1].strip(" ✗✓≈–"), line
        return
    values = getattr(module, key)()
    computed = [figure for figure, mark, _ in book.rows(key, values) if mark != book.THEIRS]
    assert computed or not values
    for figure, mark, _ in book.rows(key, values):
        assert mark in (book.RIGHT, book.NEAR) or figure.why, figure
        assert mark == book.THEIRS or figure.key in values
    assert book.figures_table(key, values).count("\n") == 1 + sum(
        figure.table == key for figure in book.figures()
    )


def test_the_errors_of_the_lectures(book):
    """What the issue names: each is marked, with the right figure beside it."""
    first, deeper = book.chapter("first_networks"), book.chapter("deeper")
    vgg = {figure.key: (mark, text) for figure, mark, text in book.rows("vgg16", first.vgg16())}
    assert vgg["values"] == ("✗", "15.2 M") and vgg["memory"] == ("✗", "58.1 MB")
    assert vgg["parameters"] == ("✓", "138.4 M") and vgg["stage1_conv1_weights"][0] == "✓"
    inception = list(book.rows("inception", deeper.inception()))
    assert [(f.figure, mark, text) for f, mark, text in inception if f.key == "narrow"] == [
        ("358 M", "✗", "271.4 M")
    ]
    assert [mark for f, mark, _ in inception if f.key == "bottlenecks"] == ["✓"]
    googlenet = {
        f.key: (mark, text) for f, mark, text in book.rows("googlenet", deeper.googlenet())
    }
    assert googlenet["fewer"] == ("✗", "8.7 x") and googlenet["layers"] == ("✓", "22")


def test_the_page_changes_with_a_model(book, monkeypatch):
    """No figure of ours is typed in."""
    before = book.figures_table("lenet", book.chapter("first_networks").lenet())
    assert "| 61,706 | 61,706 | ✓ |" in before and "✗" not in before
    entry = registry.lookup("lenet5")
    wider = dataclasses.replace(entry, build=lambda **given: entry.build(**given, num_classes=11))
    monkeypatch.setitem(registry._models, "lenet5", wider)
    registry._abstract_variables.cache_clear()
    try:
        after = book.chapter("first_networks").lenet()
        marks = {figure.key: (mark, text) for figure, mark, text in book.rows("lenet", after)}
    finally:
        monkeypatch.undo()
        registry._abstract_variables.cache_clear()
    assert marks["head_weights"] == ("✗", "924") and marks["fc1_weights"] == ("✓", "48,000")
    assert marks["parameters"] == ("✗", f"{61_706 + 85:,}")


def test_the_page_has_no_marker_left(book):
    page = book.page("training")
    assert page.startswith("# Training") and not book.MARKER.search(page)


def test_tables_of_the_lectures_name_models_of_the_zoo():
    from zoo.look import charts

    for name in ("transformers", "senet", "ilsvrc"):
        for row in charts.read_rows(name):
            assert not row["model"] or zoo.info(row["model"]).name == row["model"]


def test_remarks_are_on_rows_of_the_survey(book):
    from zoo.look import charts

    with (book.FOLDER / "remarks.csv").open(newline="") as file:
        remarks = list(csv.DictReader(file))
    names = {row["name"] for table in ("transformers", "senet") for row in charts.read_rows(table)}
    assert {row["name"] for row in remarks} <= names
