"""Random numbers of augmentation."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def whole_number(uniform: jax.Array, count: ArrayLike) -> jax.Array:
    """Returns numbers from 0 to count - 1 for uniform draws from [0, 1)."""
    return jnp.minimum(uniform * count, count - 1).astype(jnp.int32)


def symmetric_beta(key: jax.Array, alpha: jax.Array) -> jax.Array:
    """Draws from Beta(alpha, alpha), one for each of the alphas [...].

    `jax.random.beta` gives such draws too, from two programs to compile instead of one.
    """
    first, second = jax.random.loggamma(key, jnp.stack([alpha, alpha]))
    return jax.nn.sigmoid(first - second)
