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
    height, width = images.shape[1:3]
    if window != strides or any(map(any, pads)) or height % window or width % window:
        return native(images)
    on_cpu = functools.partial(_max_of_tiles, window)
    return jax.lax.platform_dependent(images, cpu=on_cpu, default=native)


def _overhang(length: int, window: int, strides: int, padding: int) -> int:
    """How far the last window reaches over the end; it has to start before the end's padding."""
    steps = -(-(length + 2 * padding - window) // strides)
    if steps * strides >= length + padding:
        steps -= 1
    return max(0, steps * strides + window - length - 2 * padding)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _max_of_tiles(window: int, images: jax.Array) -> jax.Array:
    """Windows that tile the image exactly. XLA's own gradient of this is slow on CPU."""
    return _tiles(window, images).max((2, 4))


@_max_of_tiles.defjvp
def _max_of_tiles_jvp(window, primals, tangents):
    (images,), (tangent,) = primals, tangents
    largest = _max_of_tiles(window, images)
    positions = np.arange(window**2, dtype=np.int8).reshape(1, 1, window, 1, window, 1)
    is_largest = _tiles(window, images) == largest[:, :, None, :, None]
    candidates = jnp.where(is_largest, positions, np.int8(window**2))
    is_first = positions == candidates.min((2, 4), keepdims=True)
    return largest, jnp.where(is_first, _tiles(window, tangent), 0).sum((2, 4))


def _tiles(window: int, images: jax.Array) -> jax.Array:
    """[B, H, W, C] -> [B, H / window, window, W / window, window, C]."""
    batch, height, width, channels = images.shape
    return images.reshape(batch, height // window, window, width // window, window, channels)


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
