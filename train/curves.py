"""Draws the curves of a run."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from zoo.look.pictures import figure_of, save_figure


def draw_curves(lines: list[dict], path: Path) -> None:
    """Draws loss, top-1 error in % and learning rate over epochs.

    Args:
      lines: the lines of metrics.jsonl.
      path: file of the picture, replaced atomically.
    """
    figure, axes = figure_of(1, 3, (15, 4))
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
    figure, axes = figure_of(rows, columns, size)
    axes = np.reshape(axes, (rows, columns))
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
