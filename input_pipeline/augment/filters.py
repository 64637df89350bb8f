"""Operations on the neighbourhood of a pixel: sharpness and blur."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from input_pipeline.augment.pixels import blend, one_by_one, per_image, rounded


def adjust_sharpness(images: jax.Array, sharpness_factor: ArrayLike) -> jax.Array:
    """Blends with a smoothed image: 0 is that, 1 the image; above 1 it sharpens. Both backends.

    Smoothed is by [1 1 1; 1 5 1; 1 1 1] / 13, rounded; pixels of the border stay as they are, and
    so do images of fewer than 3 rows or columns.

    Args:
      images: uint8 [B, H, W, C].
      sharpness_factor: a number or [B].
    """
    if min(images.shape[1:3]) < 3:
        return images
    values = images.astype(jnp.int32)
    rows = values[:, :-2] + values[:, 1:-1] + values[:, 2:]
    box = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    total = (box + 4 * values[:, 1:-1, 1:-1]).astype(jnp.float32)
    smooth = jnp.round(total / 13)  # no tie: 13 is odd
    inner = blend(images[:, 1:-1, 1:-1], smooth, sharpness_factor)
    return lax.dynamic_update_slice(images, inner, (0, 1, 1, 0))


def gaussian_blur(
    images: jax.Array, kernel_size: int | Sequence[int], sigma: ArrayLike | None = None
) -> jax.Array:
    """Blurs by a Gaussian that is cut to a window, as torchvision does on tensors.

    Edges are reflected; the result is rounded. Pillow's blur, which is another one, is
    `pillow_gaussian_blur`.

    Args:
      images: uint8 [B, H, W, C].
      kernel_size: odd length of the window in pixels, or (x, y) lengths.
      sigma: in pixels: a number, [B], or a tuple (x, y) of such; None: 0.15 times the
        window and 0.35 more, as torchvision.
    """
    lengths = (kernel_size, kernel_size) if isinstance(kernel_size, int) else tuple(kernel_size)
    if sigma is None:
        sigmas = tuple(0.15 * length + 0.35 for length in lengths)
    else:
        sigmas = tuple(sigma) if isinstance(sigma, tuple | list) else (sigma, sigma)
    values = images.astype(jnp.float32)
    for axis, length, deviation in zip((2, 1), lengths, sigmas, strict=True):
        values = windowed(values, gaussian_window(length, deviation), axis, "reflect")
    return rounded(values)


def pillow_gaussian_blur(
    images: jax.Array, radius: ArrayLike, largest_radius: float = 2.0
) -> jax.Array:
    """Pillow's GaussianBlur: three box blurs in each direction, in fixed point; edges are repeated.

    A true Gaussian is up to 10 grey levels away.

    Args:
      images: uint8 [B, H, W, C].
      radius: Pillow's, about the standard deviation in pixels: a number or [B].
      largest_radius: no radius is larger: it says how far the window has to reach.
    """
    box = _box_radius(per_image(radius, 2))
    whole = jnp.floor(box)
    center = jnp.floor(2.0**24 / (2 * box + 1)).astype(jnp.uint32)
    edge = (2**24 - (2 * whole + 1).astype(jnp.uint32) * center) // 2
    reach = math.floor(_box_radius(largest_radius)) + 1
    offsets = jnp.abs(jnp.arange(-reach, reach + 1, dtype=jnp.float32))[None]
    weights = jnp.where(offsets <= whole, center, jnp.where(offsets == whole + 1, edge, 0))
    values, weights = images.astype(jnp.uint32), weights.astype(jnp.uint32)
    for axis in (2, 1):
        for _ in range(3):
            values = (windowed(values, weights, axis, "edge") + 2**23) >> 24
    return values.astype(jnp.uint8)


def _box_radius(radius):
    """The radius of three box blurs with the variance radius ** 2 (Gwosdek et al. 2011)."""
    variance = radius * radius / 3
    root = (12 * variance + 1) ** 0.5
    whole = (root - 1) // 2
    excess = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance)
    return whole + excess / (6 * (variance - (whole + 1) ** 2))


def gaussian_window(length: int, sigma: ArrayLike) -> jax.Array:
    """Weights of a Gaussian, whose sum is 1: [1, length], or [B, length] for sigma [B]."""
    offsets = jnp.arange(length, dtype=jnp.float32)[None] - (length - 1) / 2
    weights = jnp.exp(-0.5 * (offsets / per_image(sigma, 2)) ** 2)
    return weights / weights.sum(-1, keepdims=True)


def windowed(values: jax.Array, weights: jax.Array, axis: int, mode: str) -> jax.Array:
    """Weighted sums over a window along axis 1 or 2 of [B, H, W, C].

    Args:
      values: [B, H, W, C].
      weights: [B or 1, length], of each image.
      axis: 1 or 2.
      mode: of `jax.numpy.pad`: what stands outside.
    """
    length, size = weights.shape[1], values.shape[axis]
    padding = [(0, 0)] * 4
    padding[axis] = ((length - 1) // 2, (length - 1) // 2)

    def sums(values: jax.Array, weights: jax.Array) -> jax.Array:
        padded = jnp.pad(values, padding, mode=mode)  # pyright: ignore[reportArgumentType]
        total = jnp.zeros_like(values)
        for offset in range(length):
            window = lax.slice_in_dim(padded, offset, offset + size, axis=axis)
            total += weights[:, offset].reshape(-1, 1, 1, 1) * window
        return total

    # One by one, as else a window along rows would compute its window along columns many times.
    return one_by_one(sums, values, jnp.broadcast_to(weights, (values.shape[0], length)))
