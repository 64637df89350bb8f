"""Pooling: the maximum in the platform's best form, and PyTorch's adaptive average."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn


def max_pool(
    images: jax.Array, window: int, strides: int, padding: int = 0, ceil_mode: bool = False
) -> jax.Array:
    """Maximum over square windows, [B, H, W, C] -> [B, H', W', C].

    Padding is on both sides and never the maximum. With `ceil_mode` a last window that reaches over
    the end counts too, as in Caffe and PyTorch. The gradient goes to the first of equal maxima, row
    by row, as in PyTorch.
    """
    over = [_overhang(n, window, strides, padding) if ceil_mode else 0 for n in images.shape[1:3]]
    pads = tuple((padding, padding + beyond) for beyond in over)
    native = functools.partial(
        nn.max_pool, window_shape=(window, window), strides=(strides, strides), padding=pads
    )

    def on_cpu(images):
        # Columns before rows: so the first of equal maxima is the first row by row.
        across = _max_of_taps(window, strides, pads[1], 2, images)  # [B, H, W', C]
        return _max_of_taps(window, strides, pads[0], 1, across)

    return jax.lax.platform_dependent(images, cpu=on_cpu, default=native)


def _overhang(length: int, window: int, strides: int, padding: int) -> int:
    """How far the last window reaches over the end; it has to start before the end's padding."""
    steps = -(-(length + 2 * padding - window) // strides)
    if steps * strides >= length + padding:
        steps -= 1
    return max(0, steps * strides + window - length - 2 * padding)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2, 3))
def _max_of_taps(window: int, strides: int, pads, axis: int, images: jax.Array) -> jax.Array:
    """Maximum pooling along one axis. XLA's own gradient takes many times as long on CPU."""
    return functools.reduce(jnp.maximum, _taps(window, strides, pads, axis, images, -np.inf))


@_max_of_taps.defjvp
def _max_of_taps_jvp(window, strides, pads, axis, primals, tangents):
    taps = _taps(window, strides, pads, axis, primals[0], -np.inf)
    largest, position = taps[0], jnp.zeros(taps[0].shape, np.uint8)
    for i, tap in enumerate(taps[1:], start=1):
        is_larger = (tap > largest) | jnp.isnan(tap)
        largest = jnp.where(is_larger, tap, largest)
        position = jnp.where(is_larger, np.uint8(i), position)
    # Linear in the tangent. Transposed, a tap is a pad, and their sum compiles to one loop.
    moved = _taps(window, strides, pads, axis, tangents[0], 0)
    chosen = (jnp.where(position == i, tap, 0) for i, tap in enumerate(moved))
    return largest, functools.reduce(jnp.add, chosen)


def _taps(window: int, strides: int, pads, axis: int, images, fill: float) -> list[jax.Array]:
    """For each place in a window, what all windows see there along the axis."""
    padding = [(*pads, 0) if i == axis else (0, 0, 0) for i in range(images.ndim)]
    padded = jax.lax.pad(images, jnp.array(fill, images.dtype), padding)
    reach = (padded.shape[axis] - window) // strides * strides + 1
    return [jax.lax.slice_in_dim(padded, i, i + reach, strides, axis=axis) for i in range(window)]


def adaptive_average_pool(images: jax.Array, size: int) -> jax.Array:
    """Averages over size x size bins that cover any image, [B, H, W, C] -> [B, size, size, C].

    Bin i reaches from floor(i * H / size) to ceil((i + 1) * H / size), as in PyTorch.
    """
    if images.shape[1:3] == (size, size):
        return images
    rows = _bins(images.shape[1], size).astype(images.dtype)
    columns = _bins(images.shape[2], size).astype(images.dtype)
    return jnp.einsum("bhwc,ih,jw->bijc", images, rows, columns)


def _bins(length: int, size: int) -> np.ndarray:
    """[size, length]: row i averages over bin i."""
    weights = np.zeros((size, length))
    for i in range(size):
        start, stop = i * length // size, -(-(i + 1) * length // size)
        weights[i, start:stop] = 1 / (stop - start)
    return weights
