"""Squeeze-and-excitation, Hu et al. 2017, arXiv:1709.01507: a gate on each channel."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers.conv import Conv


class SqueezeExcite(nn.Module):
    """Scales each channel by a function of all channels' means, [B, H, W, C] -> [B, H, W, C].

    Attributes:
      features: Number of features of the bottleneck, C / 16 in the paper.
      act: Activation function after the first layer.
      gate: Activation function after the second layer.
      dtype: Dtype of the computation.
    """

    features: int
    act: Callable[[jax.Array], jax.Array] = nn.relu
    gate: Callable[[jax.Array], jax.Array] = nn.sigmoid
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = jnp.mean(x, axis=(1, 2), keepdims=True)  # [B, 1, 1, C]
        scale = Conv(self.features, (1, 1), dtype=self.dtype, name="reduce")(scale)
        scale = Conv(x.shape[-1], (1, 1), dtype=self.dtype, name="expand")(self.act(scale))
        return x * self.gate(scale)
