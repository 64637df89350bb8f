"""Stochastic depth (Huang et al. 2016, arXiv:1603.09382): a residual branch dropped as a whole."""

import jax
from flax import linen as nn


class DropPath(nn.Module):
    """Drops the branch of each example with probability `rate`, independently, [B, ...] -> same.

    What is kept is divided by the probability of keeping it, so that evaluation is the identity.
    Every block draws for itself, from the rng stream "dropout".
    """

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        axes = tuple(range(1, x.ndim))
        return nn.Dropout(self.rate, broadcast_dims=axes, deterministic=not train)(x)
