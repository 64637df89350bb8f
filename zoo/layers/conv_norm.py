"""Convolution, BatchNorm and ReLU as one unit."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers import initializers
from zoo.layers.conv import Conv, same_symmetric, window

conv_init = initializers.variance_scaling(2.0, "fan_in", "truncated_normal")


class ConvNorm(nn.Module):
    """Convolution, BatchNorm, ReLU, [B, H, W, C] -> [B, H / strides, W / strides, features].

    Attributes:
      features: Number of output channels.
      kernel_size: Side of the kernel, or (height, width).
      strides: Stride of the convolution.
      padding: "same_symmetric" for half the kernel on each side, or "valid" for none.
      relu: Whether a ReLU follows.
      use_bias: Whether the convolution has biases besides BatchNorm's.
      epsilon: Epsilon of BatchNorm.
      train: Whether to normalise by the statistics of the batch.
      dtype: Dtype of the computation.
    """

    features: int
    kernel_size: int | tuple[int, int]
    strides: int = 1
    padding: str = "same_symmetric"
    relu: bool = True
    use_bias: bool = False
    epsilon: float = 1e-3
    train: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = Conv(
            self.features,
            window(self.kernel_size),
            self.strides,
            padding="VALID" if self.padding == "valid" else same_symmetric(self.kernel_size),
            use_bias=self.use_bias,
            kernel_init=conv_init,
            dtype=self.dtype,
            name="conv",
        )(x)
        x = nn.BatchNorm(
            not self.train, momentum=0.9, epsilon=self.epsilon, dtype=self.dtype, name="norm"
        )(x)
        return nn.relu(x) if self.relu else x
