"""Where a block's branch joins its input: residual sums, and DenseNet's concatenation.

Both materialize their result. In a long chain of such blocks XLA on CPU would compute each sum, and
each sum of gradients, again for every reader.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.kernels.materialize import materialize


def residual_sum(shortcut: jax.Array, *branches: jax.Array, relu: bool = True) -> jax.Array:
    """relu(shortcut + branches) of arrays of the same shape; without `relu` the sum alone."""
    for branch in branches:
        shortcut = shortcut + branch
    return materialize(nn.relu(shortcut) if relu else shortcut)


def append_features(x: jax.Array, new: jax.Array) -> jax.Array:
    """Concatenates [B, H, W, C] and [B, H, W, D] along the channels, [B, H, W, C + D]."""
    return materialize(jnp.concatenate([x, new], axis=-1))
