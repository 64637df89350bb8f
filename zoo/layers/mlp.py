"""The MLP of a transformer block."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers import initializers
from zoo.layers.dense import Dense

gelu = partial(nn.gelu, approximate=False)
xavier = initializers.xavier_uniform()


class Mlp(nn.Module):
    """Dense, activation, dense, [..., C] -> [..., features or C].

    Attributes:
      hidden: Number of features of the hidden layer.
      features: Number of output features; None for as many as the input has.
      act: Activation function.
      dropout: Dropout rate after each layer.
      dtype: Dtype of the computation.
      kernel_init: Initializer of both dense kernels.
    """

    hidden: int
    features: int | None = None
    act: Callable[[jax.Array], jax.Array] = gelu
    dropout: float = 0.0
    dtype: Any = jnp.float32
    kernel_init: Callable[..., jax.Array] = xavier

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        dropout = nn.Dropout(self.dropout, deterministic=not train)
        dense = partial(Dense, dtype=self.dtype, kernel_init=self.kernel_init)
        features = self.features or x.shape[-1]
        x = self.act(dense(self.hidden, name="fc1")(x))
        return dropout(dense(features, name="fc2")(dropout(x)))
