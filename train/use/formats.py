"""Results of a prediction as a table, CSV, JSON or Parquet."""

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from train.errors import TrainError
from train.use.predictions import Result

COLUMNS = ("file", "rank", "id", "label", "score")
FORMATS = ("table", "csv", "json", "parquet")


def format_of(out: str, chosen: str = "") -> str:
    """Returns the format of the results: the chosen one, or that of the file's ending, or "table".

    Raises:
      TrainError: Parquet is to be printed, or its package is missing.
    """
    ending = Path(out).suffix.removeprefix(".").lower()
    form = chosen or (ending if ending in FORMATS else "table")
    if form == "parquet":
        if not out:
            raise TrainError("Parquet is no text: name a file, such as --out=results.parquet.")
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise TrainError(
                "Parquet is written by pyarrow: pip install 'flax-zoo[parquet]', or choose "
                "--format=csv."
            ) from error
    return form


def write(results: Iterable[Result], form: str, out: str | os.PathLike | IO[str]) -> None:
    """Writes the results of all pictures that could be read.

    A file appears whole or not at all.

    Args:
      results: what `predictions.predict` returned; it is read once, and written as it comes.
      form: one of `FORMATS`.
      out: path of a file, or a stream for text.

    Raises:
      OSError: the file cannot be written.
    """
    if not isinstance(out, str | os.PathLike):
        _TEXTS[form](results, out)
        return
    path = Path(out)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if form == "parquet":
            _write_parquet(results, temporary)
        else:
            with temporary.open("w", newline="", encoding="utf-8") as file:
                _TEXTS[form](results, file)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def rows(results: Iterable[Result]) -> Iterator[tuple[str, int, str, str, float]]:
    """Yields (file, rank from 1, id, label, score) for each class of each picture."""
    for result in results:
        for rank, (class_id, name, probability) in enumerate(result.best, 1):
            yield result.file, rank, class_id, name, probability


def _write_table(results: Iterable[Result], file: IO[str]) -> None:
    """A heading for each picture, and a line for each class."""
    for result in results:
        if result.best:
            print(result.file, file=file)
        for class_id, name, probability in result.best:
            class_id = "" if class_id == name else f"  {class_id}"
            print(f"  {100 * probability:6.2f} %  {name}{class_id}", file=file)
        file.flush()


def _write_csv(results: Iterable[Result], file: IO[str]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows(results):
        writer.writerow(row)


def _write_json(results: Iterable[Result], file: IO[str]) -> None:
    """A list with one object for each picture; its predictions are as those of Hugging Face's."""
    separator = "[\n"
    for result in results:
        if not result.best:
            continue
        predictions = [{"label": name, "score": p, "id": i} for i, name, p in result.best]
        file.write(separator + json.dumps({"file": result.file, "predictions": predictions}))
        separator = ",\n"
    file.write("[]\n" if separator == "[\n" else "\n]\n")


def _write_parquet(results: Iterable[Result], path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    columns = list(zip(*rows(results), strict=True)) or [()] * len(COLUMNS)
    types = (pyarrow.string(), pyarrow.int32(), pyarrow.string(), pyarrow.string())
    arrays = [
        pyarrow.array(column, kind)
        for column, kind in zip(columns, (*types, pyarrow.float64()), strict=True)
    ]
    parquet.write_table(pyarrow.table(arrays, COLUMNS), path)


_TEXTS: dict[str, Callable[[Iterable[Result], IO[str]], None]] = {
    "table": _write_table,
    "csv": _write_csv,
    "json": _write_json,
}
