"""Pooling: the maximum in the platform's best form, and PyTorch's adaptive average."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn


def max_pool(images: jax.Array, window: int, strides: int, padding: int = 0) -> jax.Array:
    """Maximum over square windows, [B, H, W, C] -> [B, H', W', C].

    Padding is on both sides and never the maximum. Windows that tile the image exactly become a
    reshape and a maximum: XLA's own reduction, and its gradient above all, is slow on CPU.
    """
    batch, height, width, channels = images.shape
    if window == strides and padding == 0 and height % window == 0 and width % window == 0:
        tiles = images.reshape(batch, height // window, window, width // window, window, channels)
        return tiles.max((2, 4))
    pads = ((padding, padding), (padding, padding))
    return nn.max_pool(images, (window, window), (strides, strides), pads)


def adaptive_average_pool(images: jax.Array, size: int) -> jax.Array:
    """Averages over size x size bins that cover any image, [B, H, W, C] -> [B, size, size, C].

    Bin i reaches from floor(i * H / size) to ceil((i + 1) * H / size), as in PyTorch.
    """
    rows = _bins(images.shape[1], size).astype(images.dtype)
    columns = _bins(images.shape[2], size).astype(images.dtype)
    if images.shape[1:3] == (size, size):
        return images
    return jnp.einsum("bhwc,ih,jw->bijc", images, rows, columns)


def _bins(length: int, size: int) -> np.ndarray:
    """[size, length]: row i averages over bin i."""
    weights = np.zeros((size, length))
    for i in range(size):
        start, stop = i * length // size, -(-(i + 1) * length // size)
        weights[i, start:stop] = 1 / (stop - start)
    return weights
