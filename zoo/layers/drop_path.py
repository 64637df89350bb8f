"""Stochastic depth (Huang et al. 2016, arXiv:1603.09382): a residual branch dropped as a whole."""

import jax
import jax.numpy as jnp
from flax import linen as nn


class DropPath(nn.Module):
    """Drops the branch of each example with probability `rate`, independently, [B, ...] -> same.

    What is kept is divided by the probability of keeping it, so that evaluation is the identity.
    Every block draws for itself, from the rng stream "dropout". The rate is in [0, 1); it may be a
    traced scalar, as in a scan over blocks.
    """

    rate: float | jax.Array

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        if not train or (isinstance(self.rate, float | int) and self.rate == 0):
            return x
        keep = 1 - self.rate
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        mask = jax.random.bernoulli(self.make_rng("dropout"), keep, shape)
        return jnp.where(mask, x / jnp.asarray(keep, x.dtype), 0)


def linspace_rates(last: float, num_blocks: int) -> list[float]:
    """Drop rates from 0 in the first block to `last` in the last, as timm's and DeiT's."""
    return [last * block / max(1, num_blocks - 1) for block in range(num_blocks)]
