"""Pictures of networks: filters of the first layer, maps over an image, accuracy against cost."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util

from zoo import registry
from zoo.preprocess import Preprocessing


def first_filters(variables: Mapping[str, Any]) -> np.ndarray:
    """Returns the kernels of the first convolution as pictures, float [N, h, w, 3] in [0, 1].

    Each is stretched to its own lowest and highest value.

    Raises:
      ValueError: The network has no convolution of an image.
    """
    kernels: dict[str, Any] = traverse_util.flatten_dict(variables["params"], sep="/")
    of_images = [
        np.asarray(array, np.float32)
        for path, array in kernels.items()
        if path.endswith("kernel") and np.ndim(array) == 4 and array.shape[2] in (1, 3)
    ]
    if not of_images:
        raise ValueError("The network has no convolution of 1 or 3 channels.")
    # Those of three channels are of images; kernels of one may be those of depthwise convolutions.
    coloured = [kernel for kernel in of_images if kernel.shape[2] == 3] or of_images
    largest = max(coloured, key=lambda kernel: kernel.shape[0])  # a 3x3 stem beside a 1x1 shortcut
    pictures = largest.transpose(3, 0, 1, 2)  # [N, h, w, C]
    low, high = (f(pictures, axis=(1, 2, 3), keepdims=True) for f in (np.min, np.max))
    pictures = (pictures - low) / np.maximum(high - low, 1e-12)
    return np.broadcast_to(pictures, (*pictures.shape[:3], 3))


def grid(pictures: np.ndarray, scale: int = 4) -> np.ndarray:
    """Returns pictures [N, h, w, 3] side by side with white lines between, one picture.

    Args:
      pictures: In [0, 1].
      scale: Factor by which each is enlarged; pixels stay squares.
    """
    count, height, width, _ = pictures.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    large = pictures.repeat(scale, 1).repeat(scale, 2)
    line = max(1, scale // 2)
    side_y, side_x = height * scale + line, width * scale + line
    result = np.ones((rows * side_y + line, columns * side_x + line, 3), np.float32)
    for number, picture in enumerate(large):
        y, x = number // columns * side_y + line, number % columns * side_x + line
        result[y : y + height * scale, x : x + width * scale] = picture
    return result


def seen_pixels(preprocessing: Preprocessing, image: Any) -> np.ndarray:
    """Returns the part of an image that the network sees, float [H, W, 3] in [0, 1]."""
    pixels = preprocessing.resize(image).astype(np.float32) / 255
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3))


def draw_map(pixels: np.ndarray, heat: np.ndarray, title: str, path: Path) -> None:
    """Draws an image, and a map of it as colours over it.

    Args:
      pixels: The image, float [H, W, 3] in [0, 1].
      heat: The map, [h, w], stretched over the image; what is below 0 is left out where it has
        both signs.
      title: Text above.
      path: File of the picture.
    """
    figure, axes = figure_of(1, 2, (9, 4.8))
    heat = np.asarray(heat, np.float32)
    if heat.max() > 0:
        heat = np.maximum(heat, 0)
    extent = (0, pixels.shape[1], pixels.shape[0], 0)
    for axis in axes:
        axis.imshow(pixels, extent=extent)
        axis.axis("off")
    axes[1].imshow(heat, extent=extent, cmap="jet", alpha=0.5, interpolation="bilinear")
    figure.suptitle(title)
    save_figure(figure, path)


def draw_chart(infos: Sequence[registry.Info], path: Path) -> None:
    """Draws published top-1 over multiply-adds, a dot for each model, its area its parameters.

    Args:
      infos: Models whose `top1` is known.
      path: File of the picture.
    """
    figure, axis = figure_of(1, 1, (11, 7))
    families = sorted({info.family for info in infos})
    for number, family in enumerate(families):
        of_family = [info for info in infos if info.family == family]
        axis.scatter(
            [info.gmacs for info in of_family],
            [info.top1 for info in of_family],
            s=[max(8.0, info.num_params / 2e5) for info in of_family],
            color=f"C{number % 10}",
            alpha=0.6,
            label=family,
        )
        for info in of_family:
            axis.annotate(info.name, (info.gmacs, info.top1), fontsize=7)
    axis.set(xscale="log", xlabel="multiply-adds of one image, in 1e9", ylabel="top-1, %")
    axis.grid(alpha=0.3)
    if len(families) > 1:
        legend = axis.legend(fontsize=7, ncols=2, loc="lower right")
        for handle in legend.legend_handles:
            handle.set_sizes([30])
    save_figure(figure, path)


def save_pixels(pixels: np.ndarray, path: Path) -> None:
    """Writes a picture, float [H, W, 3] in [0, 1]."""
    from PIL import Image

    temporary = path.with_name(f".{path.name}.tmp")
    image = Image.fromarray((pixels * 255).round().astype(np.uint8))
    try:
        image.save(temporary, format=path.suffix.removeprefix(".").replace("jpg", "jpeg"))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def figure_of(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, Any]:
    """Returns a figure of (width, height) inches, and its axes.

    It is none of pyplot's: no display is needed, and the backend of a caller's program stays.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns)


def svg_bytes(figure: Any) -> bytes:
    """Returns a figure as an SVG file, the same whenever it is drawn."""
    from matplotlib import rc_context

    file = io.BytesIO()
    with rc_context({"svg.hashsalt": "flax-zoo"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def save_figure(figure: Any, path: Path) -> None:
    """Writes a figure, which appears whole or not at all; the ending says the format."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        figure.savefig(temporary, dpi=110, format=path.suffix.removeprefix("."))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
