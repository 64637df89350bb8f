"""Square windows of images: a partition and its inverse, and all windows at once."""

from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from zoo.kernels.sharding import reshape_batch

Array = TypeVar("Array", jax.Array, np.ndarray)


def to_windows(x: Array, side: int) -> Array:
    """Partitions into windows, [B, H, W, C] -> [B * windows, side * side, C], in row-major order.

    `side` divides H and W.
    """
    batch, height, width, channels = x.shape
    x = reshape_batch(x, (batch, height // side, side, width // side, side, channels))
    return reshape_batch(x.swapaxes(2, 3), (-1, side * side, channels))


def from_windows(windows: Array, height: int, width: int, side: int) -> Array:
    """Inverse of `to_windows`, [B * windows, side * side, C] -> [B, H, W, C]."""
    channels = windows.shape[-1]
    x = reshape_batch(windows, (-1, height // side, width // side, side, side, channels))
    return reshape_batch(x.swapaxes(2, 3), (-1, height, width, channels))


def pad_to_multiples(x: jax.Array, side: int) -> jax.Array:
    """Pads [B, H, W, C] with zeros at the bottom and right to multiples of `side`."""
    return jnp.pad(x, ((0, 0), (0, -x.shape[1] % side), (0, -x.shape[2] % side), (0, 0)))


def sliding_windows(x: jax.Array, side: int) -> jax.Array:
    """The square window at each position, [B, H, W, C] -> [B, H - side + 1, W - side + 1, F].

    F = C * side * side, in the order of channels, rows and columns. A dense layer on the windows is
    a convolution with a kernel of that side and no padding.

    Raises:
      ValueError: the maps are smaller than a window.
    """
    batch, height, width, channels = x.shape
    rows, columns = height - side + 1, width - side + 1
    if min(rows, columns) < 1:
        raise ValueError(
            f"Maps of {height}x{width} have no window of {side}x{side}: use larger images."
        )
    x = jnp.stack([x[:, i : i + rows] for i in range(side)], axis=-1)  # [B, rows, W, C, side]
    x = jnp.stack([x[:, :, i : i + columns] for i in range(side)], axis=-1)
    return x.reshape(batch, rows, columns, channels * side * side)
