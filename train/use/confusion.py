"""Which classes are taken for which: the confusion matrix as a table or a picture."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from train.errors import TrainError
from train.workspace import write_atomically

ENDINGS = (".csv", ".png", ".pdf", ".svg")
_WITH_NUMBERS = 20  # classes, up to which the picture has names and numbers


def check_ending(path: str) -> None:
    """Raises TrainError if the file is neither a table nor a picture, or has no folder."""
    if Path(path).suffix not in ENDINGS:
        raise TrainError(f"{path}: a confusion matrix is written as one of {', '.join(ENDINGS)}.")
    if not Path(path).parent.is_dir():
        raise TrainError(f"{path}: there is no folder {Path(path).parent}.")


def write(path: str, matrix: np.ndarray, names: Sequence[str]) -> None:
    """Writes a confusion matrix; classes that neither occur nor are predicted are left out.

    Args:
      path: file of the table or picture, which appears whole or not at all.
      matrix: int [K, K]; row i counts what images of class i were taken for.
      names: one name per class.
    """
    kept = np.flatnonzero(matrix.sum(0) + matrix.sum(1)).tolist()
    matrix, names = matrix[np.ix_(kept, kept)], [names[i] for i in kept]
    if Path(path).suffix == ".csv":
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["label", *names])
        writer.writerows([name, *map(int, row)] for name, row in zip(names, matrix, strict=True))
        write_atomically(Path(path), file.getvalue())
    else:
        _draw(Path(path), matrix, names)


def _draw(path: Path, matrix: np.ndarray, names: Sequence[str]) -> None:
    """Draws shares of each row, with counts and names if there are not too many."""
    from zoo.look.pictures import figure_of, save_figure

    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    side = min(12, 3 + 0.5 * len(names))
    figure, axes = figure_of(1, 1, (side, side))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="label")
    if len(names) <= _WITH_NUMBERS:
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
        axes.set_yticks(range(len(names)), names)
        for row, column in np.argwhere(matrix):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{matrix[row, column]}", ha="center", va="center", color=colour)
    save_figure(figure, path)
