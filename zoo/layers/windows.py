"""An image cut into square windows, and put together again."""

import jax
import jax.numpy as jnp


def to_windows(x: jax.Array, side: int) -> jax.Array:
    """[B, H, W, C] -> [B * windows, side * side, C], row by row; `side` divides H and W."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // side, side, width // side, side, channels)
    return x.swapaxes(2, 3).reshape(-1, side * side, channels)


def from_windows(windows: jax.Array, height: int, width: int, side: int) -> jax.Array:
    """The inverse of `to_windows`: [B * windows, side * side, C] -> [B, H, W, C]."""
    x = windows.reshape(-1, height // side, width // side, side, side, windows.shape[-1])
    return x.swapaxes(2, 3).reshape(-1, height, width, windows.shape[-1])


def pad_to_multiples(x: jax.Array, side: int) -> jax.Array:
    """Zeros at the bottom and on the right, so that `side` divides both sides of [B, H, W, C]."""
    return jnp.pad(x, ((0, 0), (0, -x.shape[1] % side), (0, -x.shape[2] % side), (0, 0)))
