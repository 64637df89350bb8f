"""Tables as text for people, Markdown, CSV, LaTeX and HTML."""

import csv
import html
import io
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

FORMS = ("table", "markdown", "csv", "latex", "html")
_LATEX = {**{sign: f"\\{sign}" for sign in "&%$#_{}"}, "\\": r"\textbackslash{}"}


class Column(NamedTuple):
    """One column of a table.

    Attributes:
      name: Its heading.
      text: Function from a value to what people read.
      plain: Function from a value to what programs read, in CSV.
      number: Whether it stands at the right.
    """

    name: str
    text: Callable[[Any], str] = str
    plain: Callable[[Any], Any] = str
    number: bool = False


class Group(NamedTuple):
    """Rows that belong together.

    Attributes:
      title: Heading of the rows, "" for none.
      rows: Rows of the values of each column.
    """

    title: str
    rows: Sequence[Sequence[Any]]


def render(columns: Sequence[Column], groups: Sequence[Group], form: str, key: str = "") -> str:
    """Returns a table as text.

    >>> print(render([Column("n"), Column("square")], [Group("", [(2, 4)])], "markdown"))
    | n | square |
    | --- | --- |
    | 2 | 4 |

    Args:
      columns: The columns.
      groups: The rows, in groups.
      form: "table", "markdown", "csv", "latex" or "html".
      key: Heading of the column that the groups' titles are in CSV, "" for no such column.

    Raises:
      ValueError: There is no such form.
    """
    if form not in _WRITERS:
        raise ValueError(f"There is no form {form!r} of tables: {', '.join(FORMS)}.")
    return "\n".join(_WRITERS[form](columns, groups, key)).rstrip("\n")


def _texts(columns: Sequence[Column], row: Sequence[Any]) -> list[str]:
    return [column.text(value) for column, value in zip(columns, row, strict=True)]


def _text(columns: Sequence[Column], groups: Sequence[Group], _: str) -> Iterator[str]:
    shown = [(title, [_texts(columns, row) for row in rows]) for title, rows in groups]
    names = [column.name for column in columns]
    every = [names, *(row for _, rows in shown for row in rows)]
    widths = [max(len(row[number]) for row in every) for number in range(len(columns))]

    def line(row: Sequence[str]) -> str:
        cells = zip(row, widths, columns, strict=True)
        return "  ".join(
            text.rjust(width) if column.number else text.ljust(width)
            for text, width, column in cells
        ).rstrip()

    yield line(names)
    for title, rows in shown:
        if title:
            yield f"[{title}]"
        yield from map(line, rows)


def _markdown(columns: Sequence[Column], groups: Sequence[Group], _: str) -> Iterator[str]:
    def line(row: Sequence[str]) -> str:
        return f"| {' | '.join(text.replace('|', chr(92) + '|') for text in row)} |"

    yield line([column.name for column in columns])
    yield line(["---:" if column.number else "---" for column in columns])
    for title, rows in groups:
        if title:
            yield line([f"**{title}**", *[""] * (len(columns) - 1)])
        yield from (line(_texts(columns, row)) for row in rows)


def _csv(columns: Sequence[Column], groups: Sequence[Group], key: str) -> Iterator[str]:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*([key] if key else []), *(column.name for column in columns)])
    for title, rows in groups:
        for row in rows:
            values = [column.plain(value) for column, value in zip(columns, row, strict=True)]
            writer.writerow([*([title] if key else []), *values])
    yield file.getvalue()


def _latex(columns: Sequence[Column], groups: Sequence[Group], _: str) -> Iterator[str]:
    def escaped(text: str) -> str:
        return re.sub(r"[&%$#_{}\\]", lambda sign: _LATEX[sign[0]], text)

    def line(row: Sequence[str]) -> str:
        return " & ".join(map(escaped, row)) + r" \\"

    yield rf"\begin{{tabular}}{{{''.join('lr'[column.number] for column in columns)}}}"
    yield r"\hline"
    yield line([column.name for column in columns])
    for title, rows in groups:
        yield r"\hline"
        if title:
            yield rf"\multicolumn{{{len(columns)}}}{{l}}{{\textbf{{{escaped(title)}}}}} \\"
        yield from (line(_texts(columns, row)) for row in rows)
    yield r"\hline"
    yield r"\end{tabular}"


def _html(columns: Sequence[Column], groups: Sequence[Group], _: str) -> Iterator[str]:
    def line(row: Sequence[str], tag: str = "td") -> str:
        cells = (
            f"<{tag}{right * column.number}>{html.escape(text)}</{tag}>"
            for text, column in zip(row, columns, strict=True)
        )
        return f"<tr>{''.join(cells)}</tr>"

    right = ' align="right"'
    yield "<table>"
    yield f"<thead>{line([column.name for column in columns], 'th')}</thead>"
    for title, rows in groups:
        yield "<tbody>"
        if title:
            span = f'<th colspan="{len(columns)}" align="left" scope="rowgroup">'
            yield f"<tr>{span}{html.escape(title)}</th></tr>"
        yield from (line(_texts(columns, row)) for row in rows)
        yield "</tbody>"
    yield "</table>"


_WRITERS: dict[str, Callable[[Sequence[Column], Sequence[Group], str], Iterator[str]]] = {
    "table": _text,
    "markdown": _markdown,
    "csv": _csv,
    "latex": _latex,
    "html": _html,
}
