"""Resizing with and without antialiasing, on the device.

`backend` is "tensor" (torchvision on tensors, the default) or "pillow", which always antialiases,
and whose "nearest" is nearly "nearest_exact"; where both antialias, they differ by one grey level.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from input_pipeline.augment.pixels import check_backend, check_choice
from input_pipeline.augment.resample import Axis, pick, resample

INTERPOLATIONS = ("nearest", "nearest_exact", "bilinear", "bicubic")
Size = int | Sequence[int]


def resize(
    images: jax.Array,
    size: Size,
    interpolation: str = "bilinear",
    max_size: int | None = None,
    antialias: bool = True,
    backend: str = "tensor",
) -> jax.Array:
    """Resizes each image.

    Args:
      images: uint8 [B, H, W, C].
      size: (height, width); one number, or [number], is the length of the shorter side.
      interpolation: one of `INTERPOLATIONS`.
      max_size: where `size` is one number, largest length of the longer side.
      antialias: whether the filter is widened where images shrink.
      backend: "tensor" or "pillow".

    Returns:
      uint8 [B, height, width, C].
    """
    height, width = images.shape[1:3]
    size = resized_size(height, width, size, max_size)
    return resized_crop(images, 0, 0, height, width, size, interpolation, antialias, backend)


def resized_size(
    height: int, width: int, size: Size, max_size: int | None = None
) -> tuple[int, int]:
    """(height, width) that `resize` gives an image."""
    sizes = [size] if isinstance(size, int) else list(size)
    if len(sizes) == 2:
        return sizes[0], sizes[1]
    short, long = min(height, width), max(height, width)
    new_short, new_long = sizes[0], int(sizes[0] * long / short)
    if max_size is not None and new_long > max_size:
        new_short, new_long = int(max_size * new_short / new_long), max_size
    return (new_short, new_long) if height <= width else (new_long, new_short)


def resized_crop(
    images: jax.Array,
    top: ArrayLike,
    left: ArrayLike,
    height: ArrayLike,
    width: ArrayLike,
    size: Size,
    interpolation: str = "bilinear",
    antialias: bool = True,
    backend: str = "tensor",
) -> jax.Array:
    """Resizes a box of each image; nothing outside of the box contributes.

    Args:
      images: uint8 [B, H, W, C].
      top, left, height, width: of the box, inside of the image: whole numbers or [B].
      size: (height, width) of the result, or one number for both.
      interpolation, antialias, backend: as in `resize`.

    Returns:
      uint8 [B, size, size, C].
    """
    check_backend(backend)
    check_choice("interpolation", interpolation, INTERPOLATIONS)
    sizes = (size, size) if isinstance(size, int) else tuple(size)
    sides = list(zip((top, left), (height, width), sizes, images.shape[1:3], strict=True))
    if interpolation.startswith("nearest"):
        kind = "pillow" if backend == "pillow" else interpolation
        rows, columns = (
            _nearest(start, length, new, largest, kind) for start, length, new, largest in sides
        )
        return pick(images, rows, columns)
    rows, columns = (
        Axis(start, _ratio(length, new), start, _sum(start, length))
        for start, length, new, _ in sides
    )
    antialias = antialias or backend == "pillow"
    return resample(images, sizes, rows, columns, interpolation, antialias)


def _nearest(start: ArrayLike, length: ArrayLike, size: int, largest: int, kind: str) -> ArrayLike:
    """Which of `largest` pixels each of the result is: int [B or 1, size]."""

    def positions(length: int) -> np.ndarray:
        if kind == "pillow":  # goes step by step in float64
            steps = np.full(size, length / size)
            steps[0] /= 2
            found = np.cumsum(steps)
        else:  # float32, as in torch
            shift = np.float32(0.5 if kind == "nearest_exact" else 0.0)
            found = (np.arange(size, dtype=np.float32) + shift) * (
                np.float32(length) / np.float32(size)
            )
        return np.minimum(found.astype(np.int32), max(length - 1, 0))

    if isinstance(start, int) and isinstance(length, int):
        return np.clip(start + positions(length)[None], 0, largest - 1)
    table = jnp.asarray(np.stack([positions(n) for n in range(largest + 1)]))
    found = table[jnp.asarray(length, jnp.int32).reshape(-1)]
    return jnp.clip(jnp.asarray(start, jnp.int32).reshape(-1, 1) + found, 0, largest - 1)


def _ratio(length: ArrayLike, size: int) -> ArrayLike:
    return length / size if isinstance(length, int) else jnp.asarray(length, jnp.float32) / size


def _sum(start: ArrayLike, length: ArrayLike) -> ArrayLike:
    fixed = isinstance(start, int) and isinstance(length, int)
    return start + length if fixed else jnp.asarray(start) + jnp.asarray(length)
