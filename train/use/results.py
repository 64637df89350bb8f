"""A table of evaluations: a CSV file to which each model adds its row, and which can be gone on
with."""

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from train.errors import TrainError
from train.workspace import write_atomically

# What was evaluated, and how; two rows that agree in these are the same evaluation.
KEYS = (
    *("weights", "data", "split", "views", "scales", "average", "image_size"),
    *("classes", "labels", "shares"),
)
FIGURES = (
    *("images", "skipped", "top1", "top5", "loss", "published_top1", "published_top5"),
    *("model", "parameters", "crop", "interpolation", "seconds"),
)
COLUMNS = (*KEYS, *FIGURES)


class Results:
    """The rows of a CSV file.

    Raises:
      TrainError: the file is not such a table.
    """

    def __init__(self, path: str):
        self._path = Path(path).expanduser() if path else None
        self.rows: list[dict[str, str]] = []
        if self._path and self._path.exists():
            self.rows = _read(self._path)

    def has(self, key: Mapping[str, Any]) -> bool:
        """Returns whether there is a row with these values of `KEYS`."""
        return any(all(row[name] == str(key[name]) for name in KEYS) for row in self.rows)

    def add(self, row: Mapping[str, Any]) -> None:
        """Adds a row, and writes the file: it appears whole or stays as it was."""
        if self._path and self._path.exists():  # another program may have added rows
            self.rows = _read(self._path)
        self.rows.append({name: _text(row.get(name)) for name in COLUMNS})
        if self._path:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path, as_csv(self.rows))


def as_csv(rows: Iterable[Mapping[str, str]]) -> str:
    """Returns rows as CSV, with the names of the columns in the first line."""
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _read(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file, strict=True)
            rows = list(reader)
    except (OSError, ValueError, csv.Error) as error:
        raise TrainError(f"The results in {path} cannot be read: {error}.") from error
    if tuple(reader.fieldnames or COLUMNS) != COLUMNS or any(None in row for row in rows):
        raise TrainError(
            f"{path} has other columns than a table of evaluations. Name another file as --results."
        )
    return rows


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
