"""Resizing with and without antialiasing, on the device, as torchvision does it on tensors.

A result is a weighted sum of a few pixels along the width, rounded to uint8, and then along the
height. Pillow's bilinear and bicubic filters are the same to within one grey level; its nearest
is "nearest_exact", and it always antialiases.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from input_pipeline.augment.pixels import check_choice, rounded

INTERPOLATIONS = ("nearest", "nearest_exact", "bilinear", "bicubic")
Size = int | Sequence[int]


def resize(
    images: jax.Array,
    size: Size,
    interpolation: str = "bilinear",
    max_size: int | None = None,
    antialias: bool = True,
) -> jax.Array:
    """Resizes each image.

    Args:
      images: uint8 [B, H, W, C].
      size: (height, width); one number, or [number], is the length of the shorter side.
      interpolation: one of `INTERPOLATIONS`.
      max_size: where `size` is one number, largest length of the longer side.
      antialias: whether the filter is widened where images shrink.

    Returns:
      uint8 [B, height, width, C].
    """
    height, width = images.shape[1:3]
    size = resized_size(height, width, size, max_size)
    rows, columns = (
        Axis(0, _ratio(length, new, length), 0, length)
        for length, new in zip((height, width), size, strict=True)
    )
    return resample(images, size, rows, columns, interpolation, antialias)


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
) -> jax.Array:
    """Resizes a box of each image; nothing outside of the box contributes.

    Args:
      images: uint8 [B, H, W, C].
      top, left, height, width: of the box, inside of the image: whole numbers or [B].
      size: (height, width) of the result, or one number for both.
      interpolation, antialias: as in `resize`.

    Returns:
      uint8 [B, size, size, C].
    """
    sizes = (size, size) if isinstance(size, int) else tuple(size)
    rows, columns = (
        Axis(start, _ratio(length, new, whole), start, _sum(start, length))
        for start, length, new, whole in zip(
            (top, left), (height, width), sizes, images.shape[1:3], strict=True
        )
    )
    return resample(images, sizes, rows, columns, interpolation, antialias)


class Axis(NamedTuple):
    """Which part of an axis of the source becomes the axis of the result.

    Attributes:
      origin: where the result starts, in pixels of the source; a number or [B], as all of these.
      scale: pixels of the source to one of the result.
      low, high: the pixels in low <= p < high exist; the others do not contribute.
      largest_scale: no scale is larger; 0: that of a whole image.
    """

    origin: ArrayLike
    scale: ArrayLike
    low: ArrayLike
    high: ArrayLike
    largest_scale: float = 0.0


def resample(
    images: jax.Array,
    size: Sequence[int],
    rows: Axis,
    columns: Axis,
    interpolation: str = "bilinear",
    antialias: bool = True,
) -> jax.Array:
    """Resamples each image along its width and then along its height.

    Args:
      images: uint8 [B, H, W, C].
      size: (height, width) of the result.
      rows, columns: what becomes of the axes. What lies outside of [low, high) is zero.
      interpolation, antialias: as in `resize`.

    Returns:
      uint8 [B, height, width, C].
    """
    check_choice("interpolation", interpolation, INTERPOLATIONS)
    # Pixels of a line stand side by side in memory, so that a tap adds whole lines.
    images = jnp.swapaxes(images, 1, 2)
    images = _along_rows(images, size[1], columns, interpolation, antialias)
    images = jnp.swapaxes(images, 1, 2)
    return _along_rows(images, size[0], rows, interpolation, antialias)


def _along_rows(images: jax.Array, size: int, axis: Axis, interpolation: str, antialias: bool):
    """[B, N, M, C] -> [B, size, M, C]."""
    batch, length, other, channels = images.shape
    fixed = all(isinstance(value, int | float | np.floating) for value in axis[:4])
    if fixed and size == length and axis[:4] == (0, 1, 0, length):
        return images
    index, weights = _taps(size, length, axis, interpolation, antialias)
    lines = images.reshape(batch, length, other * channels)
    total: jax.Array | float = 0.0
    for tap in range(index.shape[-1]):
        if index.shape[0] == 1:
            found = lines.at[:, index[0, :, tap]].get(mode="promise_in_bounds")
        else:
            found = jax.vmap(lambda x, i: x.at[i].get(mode="promise_in_bounds"))(
                lines, index[:, :, tap]
            )
        if index.shape[-1] == 1:
            total = jnp.where(weights[:, :, tap, None] > 0, found, 0)
        else:
            total += weights[:, :, tap, None] * found.astype(jnp.float32)
    result = total if interpolation.startswith("nearest") else rounded(jnp.asarray(total))
    return jnp.asarray(result).reshape(batch, size, other, channels)


def _taps(size: int, length: int, axis: Axis, interpolation: str, antialias: bool):
    """Which pixels make one of the result: (index, weight), each [B or 1, size, taps]."""
    numbers = jnp.arange(size, dtype=jnp.float32)[None, :, None]
    origin, scale, low, high = (
        jnp.asarray(value, jnp.float32).reshape(-1, 1, 1) for value in axis[:4]
    )
    if interpolation.startswith("nearest"):
        shift = 0.5 if interpolation == "nearest_exact" else 0.0
        index = origin + jnp.floor((numbers + shift) * scale)
        weights = ((index >= low) & (index < high)).astype(jnp.float32)
        return jnp.clip(index, 0, length - 1).astype(jnp.int32), weights
    radius = 1 if interpolation == "bilinear" else 2
    center = origin + (numbers + 0.5) * scale  # where pixel p is [p, p + 1)
    if antialias:
        widening = jnp.maximum(scale, 1)
        largest = max(1.0, axis.largest_scale or _largest(axis.scale, length / size))
        taps = math.ceil(2 * radius * largest) + 1
        start = jnp.floor(center - radius * widening + 0.5)
    else:
        widening, taps = jnp.ones_like(scale), 2 * radius
        start = jnp.floor(center - 0.5) - (radius - 1)
    position = start + jnp.arange(taps, dtype=jnp.float32).reshape(1, 1, -1)
    distance = jnp.abs(position + 0.5 - center) / widening
    if interpolation == "bilinear":
        weights = jnp.maximum(0, 1 - distance)
    else:
        weights = _cubic(distance, -0.5 if antialias else -0.75)
    if antialias:
        weights = jnp.where((position >= low) & (position < high), weights, 0)
        total = weights.sum(-1, keepdims=True)
        weights = weights / jnp.where(total == 0, 1, total)
    else:  # edges are repeated
        position = jnp.clip(position, low, high - 1)
    outside = (center < low) | (center >= high)  # of a canvas that is larger than the image
    weights = jnp.where(outside | (position < 0) | (position >= length), 0, weights)
    return jnp.clip(position, 0, length - 1).astype(jnp.int32), weights


def _cubic(distance: jax.Array, a: float) -> jax.Array:
    """Keys's cubic kernel; torch takes a = -0.75 where it does not antialias."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return jnp.where(distance <= 1, near, jnp.where(distance < 2, far, 0))


def _ratio(length: ArrayLike, size: int, largest: int) -> ArrayLike:
    """length / size as torch has it, in float32: XLA would multiply by 1 / size."""
    if isinstance(length, int):
        return np.float32(length) / np.float32(size)
    ratios = np.arange(largest + 1, dtype=np.float32) / np.float32(size)
    return jnp.asarray(ratios)[jnp.asarray(length, jnp.int32)]


def _sum(start: ArrayLike, length: ArrayLike) -> ArrayLike:
    fixed = isinstance(start, int) and isinstance(length, int)
    return start + length if fixed else jnp.asarray(start) + jnp.asarray(length)


def _largest(scale: ArrayLike, of_whole_image: float) -> float:
    return float(scale) if isinstance(scale, np.floating | float) else of_whole_image
