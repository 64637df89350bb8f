"""Pooling functions of every family, each in the form that is fast on its platform."""

import jax
import jax.numpy as jnp

from zoo.kernels import pool
from zoo.layers.observe import observable

__all__ = ["adaptive_average_pool", "average_pool", "flatten", "global_average_pool", "max_pool"]

adaptive_average_pool = observable(pool.adaptive_average_pool)
average_pool = observable(pool.average_pool)
max_pool = observable(pool.max_pool)


@observable
def global_average_pool(images: jax.Array) -> jax.Array:
    """The mean over all positions, [B, H, W, C] -> [B, C]."""
    return jnp.mean(images, axis=(1, 2))


@observable
def flatten(images: jax.Array) -> jax.Array:
    """All values in the order of PyTorch, channel by channel, [B, H, W, C] -> [B, C * H * W]."""
    return images.transpose(0, 3, 1, 2).reshape(images.shape[0], -1)
