"""Drawings of a look at one image: activations by stage, attributions, units."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from zoo.look.inside import Inside
from zoo.look.page.network import UnitPictures, as_map
from zoo.look.pictures import figure_of, save_figure

_ACROSS = 8  # maps of a stage, or images of a unit


def draw_activations(seen: Inside, path: Path) -> None:
    """Draws the maps of each stage that matter most for the class.

    Raises:
      ValueError: No stage of the network is a map.
    """
    rows = []
    for layer in seen.layers.values():
        maps, slopes = (as_map(x[layer.name]) for x in (seen.values, seen.slopes))
        stage = layer.output and layer.output != "logits"
        if maps is not None and slopes is not None and stage and maps.shape[0] > 1:
            order = np.argsort(-np.abs((maps * slopes).sum((0, 1))), kind="stable")[:_ACROSS]
            rows.append((layer.output, maps, order))
    if not rows:
        raise ValueError("No stage of the network is a map, so there are no activations to draw.")
    figure, axes = figure_of(len(rows), _ACROSS, (1.3 * _ACROSS, 1.5 * len(rows)))
    for line, (name, maps, order) in zip(axes.reshape(len(rows), -1), rows, strict=True):
        for axis in line:
            axis.axis("off")
        for axis, channel in zip(line, order, strict=False):
            most = max(float(np.abs(maps[..., channel]).max()), 1e-12)
            axis.imshow(maps[..., channel], cmap="RdBu_r", vmin=-most, vmax=most)
            axis.set_title(f"{name} : {channel}", fontsize=8)
    save_figure(figure, path)


def draw_attributions(
    pixels: np.ndarray, maps: Mapping[str, np.ndarray], title: str, path: Path
) -> None:
    """Draws the image, and over it each map of what in it the class goes by.

    Args:
      pixels: The image [H, W, C] in [0, 1].
      maps: Maps [h, w] by their names.
      title: Text above.
      path: File of the picture.
    """
    columns = min(4, len(maps) + 1)
    rows = -(-(len(maps) + 1) // columns)
    figure, axes = figure_of(rows, columns, (2.6 * columns, 2.9 * rows))
    shown = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    extent = (0, shown.shape[1], shown.shape[0], 0)
    flat = np.ravel(axes)
    for axis in flat:
        axis.axis("off")
    flat[0].imshow(shown)
    for axis, (name, values) in zip(flat[1:], maps.items(), strict=False):
        axis.imshow(shown, extent=extent)
        heat = np.maximum(values, 0) if values.max() > 0 else values
        axis.imshow(heat, extent=extent, cmap="inferno", alpha=0.6, interpolation="bilinear")
        axis.set_title(name, fontsize=9)
    figure.suptitle(title)
    save_figure(figure, path)


def draw_units(units: Sequence[UnitPictures], path: Path) -> None:
    """Draws each unit's picture, and beside it its strongest images."""
    columns = 1 + max(len(unit.top) for unit in units)
    figure, axes = figure_of(len(units), columns, (1.6 * columns + 1, 1.85 * len(units)))
    grid = np.asarray(axes, object).reshape(len(units), columns)
    for line, unit in zip(grid, units, strict=True):
        for axis in line:
            axis.axis("off")
        for axis, image in zip(line, [unit.picture, *unit.top], strict=False):
            axis.imshow(np.broadcast_to(image, (*image.shape[:2], 3)))
        line[0].set_title(unit.label, fontsize=8)
        for axis, value in zip(line[1:], unit.top_values, strict=False):
            axis.set_title(f"{value:.3g}", fontsize=7)
    save_figure(figure, path)
