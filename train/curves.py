"""Draws the curves of a run."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")  # no display is needed, and none may be opened
from matplotlib import pyplot  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402


def draw_curves(lines: list[dict], path: Path) -> None:
    """Draws loss, top-1 error in % and learning rate over epochs.

    Args:
      lines: the lines of metrics.jsonl.
      path: file of the picture, replaced atomically.
    """
    figure, axes = pyplot.subplots(1, 3, figsize=(15, 4), layout="constrained")
    for split, marker in (("train", ""), ("eval", "o")):
        chosen = [line for line in lines if line["split"] == split]
        epochs = [line["epoch"] for line in chosen]
        axes[0].plot(epochs, [line["loss"] for line in chosen], marker=marker, label=split)
        errors = [100 * (1 - line["top1"]) for line in chosen]
        axes[1].plot(epochs, errors, marker=marker, label=split)
    train = [line for line in lines if line["split"] == "train"]
    axes[2].plot([line["epoch"] for line in train], [line["learning_rate"] for line in train])
    for axis, title in zip(axes, ("loss", "top-1 error, %", "learning rate"), strict=True):
        axis.set(title=title, xlabel="epoch")
        axis.grid(alpha=0.3)
    for axis in axes[:2]:
        values = [value for line in axis.lines for value in line.get_ydata()]
        if max(values, default=0) > 0:  # all right, from the first evaluation on
            axis.set_yscale("log")
        axis.legend()
    save_figure(figure, path)


def draw_rates(curves: Mapping[str, tuple[np.ndarray, np.ndarray]], path: Path) -> None:
    """Draws learning rates over epochs, a panel for each.

    Args:
      curves: {title: (epochs [N], rates [N])}.
      path: file of the picture, replaced atomically.
    """
    columns = min(4, len(curves))
    rows = -(-len(curves) // columns)
    size = (3 * columns, 2.2 * rows) if len(curves) > 1 else (7, 4)
    figure, axes = pyplot.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    for axis, (title, (epochs, rates)) in zip(axes.flat, curves.items(), strict=False):
        axis.plot(epochs, rates)
        axis.set_title(title)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    for axis in axes[-1]:
        axis.set_xlabel("epoch")
    for axis in axes[:, 0]:
        axis.set_ylabel("learning rate")
    for axis in axes.flat[len(curves) :]:
        axis.remove()
    save_figure(figure, path)


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a picture, which appears whole or not at all; the ending says its format.

    Raises:
      OSError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        figure.savefig(temporary, dpi=100, format=path.suffix.removeprefix("."))
        temporary.replace(path)
    finally:
        pyplot.close(figure)
        temporary.unlink(missing_ok=True)
