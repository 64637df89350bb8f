"""Images read along their rows and columns at other distances: what resizing ends in.

A result is a weighted sum of a few pixels along the width, rounded to uint8, and then along the
height.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from input_pipeline.augment.pixels import one_by_one, truncated


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
      interpolation: "bilinear" or "bicubic".
      antialias: whether the filter is widened where images shrink.

    Returns:
      uint8 [B, height, width, C].
    """
    batch, height, width, channels = images.shape
    # Planes of one channel, with the axis that is resampled first: so a tap adds whole lines.
    planes = jnp.transpose(images, (0, 3, 2, 1)).reshape(batch * channels, width, height)
    planes = _along_lines(planes, channels, size[1], columns, interpolation, antialias)
    planes = jnp.swapaxes(planes, 1, 2)
    planes = _along_lines(planes, channels, size[0], rows, interpolation, antialias)
    return jnp.transpose(planes.reshape(batch, channels, *size), (0, 2, 3, 1))


def _along_lines(
    planes: jax.Array, channels: int, size: int, axis: Axis, interpolation: str, antialias: bool
) -> jax.Array:
    """[B * C, N, M] -> [B * C, size, M]."""
    count, length, _ = planes.shape
    fixed = all(isinstance(value, int | float | np.number) for value in axis[:4])
    if fixed and size == length and axis[:4] == (0, 1, 0, length):
        return planes
    # Those of fixed axes are computed here and now, as XLA would rearrange (n + 0.5) * constant.
    taps = _taps(np if fixed else jnp, size, length, axis, interpolation, antialias)
    shape = (count // channels, channels, *taps[0].shape[1:])
    index, weights = (
        jnp.broadcast_to(jnp.asarray(of_taps)[:, None], shape).reshape(count, *shape[2:])
        for of_taps in taps
    )

    def weighted(planes: jax.Array, index: jax.Array, weights: jax.Array) -> jax.Array:
        total: jax.Array | float = 0.5  # halves are rounded up, as in torch
        for tap in range(index.shape[-1]):
            lines = jax.vmap(lambda x, i: x.at[i].get(mode="promise_in_bounds"))(
                planes, index[..., tap]
            )
            total += weights[..., tap, None] * lines.astype(jnp.float32)
        return truncated(jnp.asarray(total))

    return one_by_one(weighted, planes, index, weights)


def _taps(xp: Any, size: int, length: int, axis: Axis, interpolation: str, antialias: bool):
    """Which pixels make one of the result: (index, weight), each [B or 1, size, taps].

    `xp` is numpy, or jax.numpy where the axis depends on traced values.
    """
    numbers = xp.arange(size, dtype=xp.float32)[None, :, None]
    origin, scale, low, high = (
        xp.asarray(value, xp.float32).reshape(-1, 1, 1) for value in axis[:4]
    )
    radius = 1 if interpolation == "bilinear" else 2
    center = origin + (numbers + 0.5) * scale  # where pixel p is [p, p + 1)
    if antialias:
        widening = xp.maximum(scale, 1)
        largest = max(1.0, axis.largest_scale or _largest(axis.scale, length / size))
        taps = math.ceil(2 * radius * largest)
        start = xp.floor(center - radius * widening + 0.5)
    else:
        widening, taps = xp.ones_like(scale), 2 * radius
        start = xp.floor(center - 0.5) - (radius - 1)
    position = start + xp.arange(taps, dtype=xp.float32).reshape(1, 1, -1)
    distance = xp.abs(position + 0.5 - center) / widening
    if interpolation == "bilinear":
        weights = xp.maximum(0, 1 - distance)
    else:
        weights = _cubic(xp, distance, -0.5 if antialias else -0.75)
    if antialias:
        weights = xp.where((position >= low) & (position < high), weights, 0)
        total = weights.sum(-1, keepdims=True)
        weights = weights / xp.where(total == 0, 1, total)
    else:  # edges are repeated
        position = xp.clip(position, low, high - 1)
    outside = (center < low) | (center >= high)  # of a canvas that is larger than the image
    weights = xp.where(outside | (position < 0) | (position >= length), 0, weights)
    # In fixed point as torch's, so that sums are exact in float32 in whatever order.
    weights = (xp.round(weights * 2**15) / 2**15).astype(xp.float32)
    return xp.clip(position, 0, length - 1).astype(xp.int32), weights


def _cubic(xp: Any, distance: Any, a: float) -> Any:
    """Keys's cubic kernel; torch takes a = -0.75 where it does not antialias."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return xp.where(distance <= 1, near, xp.where(distance < 2, far, 0))


def pick(images: jax.Array, rows: ArrayLike, columns: ArrayLike) -> jax.Array:
    """Takes rows and columns of each image: [B or 1, h] and [B or 1, w] -> [B, h, w, C]."""
    for axis, index in ((2, columns), (1, rows)):
        images = jnp.swapaxes(images, 1, 2) if axis == 2 else images
        index = jnp.asarray(index)
        if index.shape[0] == 1:
            images = images.at[:, index[0]].get(mode="promise_in_bounds")
        else:
            images = jax.vmap(lambda x, i: x.at[i].get(mode="promise_in_bounds"))(images, index)
        images = jnp.swapaxes(images, 1, 2) if axis == 2 else images
    return images


def _largest(scale: ArrayLike, of_whole_image: float) -> float:
    return float(scale) if isinstance(scale, int | float | np.floating) else of_whole_image
