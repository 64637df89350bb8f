"""The book of the lectures: their figures beside what this project computes.

A chapter is docs/lectures/NAME.md, and NAME.py beside it computes it. In the page

    <!-- figures: NAME -->               a table: the figures of docs/lectures/figures.csv,
                                         and those of the same key that function NAME() returns
    <!-- text: NAME -->                  what function NAME(compare) returns, Markdown
    <!-- picture: NAME | what is seen --> what function NAME() returns, the bytes of an SVG file

are replaced when the site is built, so no figure of ours is typed in.
"""

import ast
import csv
import functools
import importlib.util
import re
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FOLDER = Path(__file__).parent.parent / "lectures"
CHAPTERS = {
    "convolution": "Convolution by hand",
    "first_networks": "From LeNet to VGG",
    "deeper": "Inception, residuals, and after",
    "transformers": "Transformers and ConvNeXt",
    "training": "Training, data, and after",
}
MARKER = re.compile(r"<!-- (figures|text|picture): (\w+)(?: \| (.*))? -->")
SCALES = {"K": 1e3, "M": 1e6, "G": 1e9, "KB": 2**10, "MB": 2**20, "%": 1, "x": 1, "": 1}
RIGHT, NEAR, WRONG, THEIRS = "✓", "≈", "✗", "–"
_NEAR = 0.05  # of the figure
_NUMBER = re.compile(r"([\d,]*\.?\d+) ?(KB|MB|[KMG%x]?)")


class Figure(NamedTuple):
    """What a lecture shows.

    Attributes:
      table: Name of the table of the book that it is in.
      key: Its name in what the chapter's function returns.
      what: What it is, in words.
      place: Letters of the lectures that show it, and where: "A, B: AlexNet".
      figure: The figure as it is shown, such as "138 M" or "55x55x96".
      why: Why it is wrong, or why it is not computed here. "{key}" stands for what is computed.
    """

    table: str
    key: str
    what: str
    place: str
    figure: str
    why: str


@functools.cache
def figures() -> tuple[Figure, ...]:
    """All figures of the lectures."""
    with (FOLDER / "figures.csv").open(newline="") as file:
        return tuple(Figure(**row) for row in csv.DictReader(file))


class Number(float):
    """A number that a text takes in thousands or millions: f"{n:.1M}" is "15.2 M"."""

    def __format__(self, spec: str) -> str:
        if match := re.fullmatch(r"(\.\d+)([KMG]|MB)", spec):
            return f"{float(self) / SCALES[match[2]]:{match[1]}f} {match[2]}"
        if not spec:
            return f"{float(self):,.0f}" if self.is_integer() else f"{float(self):.4g}"
        return super().__format__(spec)


def compare(figure: str, value: Any) -> tuple[str, str]:
    """Returns a mark and our value as text, in the unit of the lecture's figure.

    A figure is right when ours, rounded to its digits, is the same. One that is rounded itself is
    near within 5 %.
    """
    if value is None:
        return THEIRS, ""
    if isinstance(value, str):
        return (RIGHT if value == figure else WRONG), value
    if figure[0] in "[(":
        return _compare_arrays(figure, value)
    if isinstance(value, tuple):
        return compare(figure, "x".join(map(str, value)))
    number, unit = _parts(figure)
    digits = _digits(figure)
    ours = float(value) / SCALES[unit]
    whole = unit == "" and digits == 0 and ours == int(ours)
    text = f"{ours:,.{0 if whole else digits + 1}f} {unit}".strip()
    away = abs(ours - number)
    if away == 0 or (not whole and away <= 0.5 * 10.0**-digits * (1 + 1e-9)):
        return RIGHT, text
    return (NEAR if not whole and away <= _NEAR * number else WRONG), text


def _parts(figure: str) -> tuple[float, str]:
    """The number and the unit of a figure."""
    match = _NUMBER.fullmatch(figure)
    if not match:
        raise ValueError(f"{figure!r} of figures.csv is no number, and what is computed is one.")
    return float(match[1].replace(",", "")), match[2]


def _digits(figure: str) -> int:
    """The number of digits after the decimal point, the most of several."""
    return max((len(part) for part in re.findall(r"\.(\d+)", figure)), default=0)


def _compare_arrays(figure: str, value: Any) -> tuple[str, str]:
    shown, digits = np.array(ast.literal_eval(figure), float), _digits(figure)
    ours = np.asarray(value, float)
    equal = shown.shape == ours.shape and np.all(abs(shown - ours) <= 0.5 * 10.0**-digits + 1e-9)
    numbers = ours.round(digits) if digits else ours.round().astype(int)
    text = str(numbers.tolist())
    return (RIGHT if equal else WRONG), text if figure[0] == "[" else f"({text[1:-1]})"


def rows(name: str, values: Mapping[str, Any]) -> Iterator[tuple[Figure, str, str]]:
    """The figures of a table with their marks and what is computed here."""
    for figure in figures():
        if figure.table == name:
            mark, text = compare(figure.figure, values.get(figure.key))
            yield figure, mark, text


def figures_table(name: str, values: Mapping[str, Any]) -> str:
    """A table of the book, in Markdown."""
    shown = {
        key: Number(value) if isinstance(value, int | float) else value
        for key, value in values.items()
    }
    lines = [
        "| | the lectures | | computed here | |",
        "| --- | --- | ---: | ---: | --- |",
    ]
    for figure, mark, text in rows(name, values):
        why = figure.why.format_map(shown)
        cells = figure.what, figure.place, figure.figure, text, f"{mark} {why}".strip()
        lines.append(f"| {' | '.join(cells)} |")
    if len(lines) == 2:
        raise ValueError(f"figures.csv has no table {name!r}.")
    return "\n".join(lines)


def chapter(name: str) -> types.ModuleType:
    """The code of a chapter."""
    spec = importlib.util.spec_from_file_location(f"lectures_{name}", FOLDER / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def replacement(name: str, module: types.ModuleType) -> Callable[[re.Match], str]:
    """The function from a marker of a chapter to what stands in its place."""

    def of(marker: re.Match) -> str:
        kind, key, words = marker.groups()
        if kind == "picture":
            return f"![{words}]({picture_name(name, key)})"
        make = getattr(module, key)
        return make(compare) if kind == "text" else figures_table(key, make())

    return of


def page(name: str) -> str:
    """A chapter, in Markdown."""
    text = (FOLDER / f"{name}.md").read_text()
    return MARKER.sub(replacement(name, chapter(name)), text)


def picture_name(name: str, key: str) -> str:
    return f"{name}_{key}.svg"


def pictures(name: str) -> Iterator[tuple[str, bytes]]:
    """The pictures of a chapter: the name of the file and its bytes."""
    module = chapter(name)
    for kind, key, _ in MARKER.findall((FOLDER / f"{name}.md").read_text()):
        if kind == "picture":
            yield picture_name(name, key), getattr(module, key)()
