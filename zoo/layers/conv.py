"""The convolution of every family: `nn.Conv`'s parameters and numbers, fast on CPU as well."""

import functools
from collections.abc import Callable

import jax
from flax import linen as nn

from zoo.kernels.conv import conv
from zoo.layers import initializers

__all__ = ["Conv", "conv", "same_symmetric", "square_conv", "window"]

Conv = functools.partial(
    nn.Conv, kernel_init=initializers.lecun_normal(), conv_general_dilated=conv
)


def square_conv(
    features: int,
    kernel_size: int = 1,
    strides: int = 1,
    groups: int = 1,
    *,
    padding: str | None = None,
    use_bias: bool = False,
    kernel_init: Callable[..., jax.Array] = initializers.kaiming_fan_out,
    **settings,
) -> nn.Module:
    """A convolution of residual networks: square kernel, no bias, He initialization by fan-out.

    Args:
      features: Number of output channels.
      kernel_size: Side of the kernel.
      strides: Stride in both directions.
      groups: Number of groups of channels, each of which is convolved by itself.
      padding: None for `kernel_size // 2` pixels on every side, as in PyTorch; "SAME" for
        TensorFlow's padding, which has the odd pixel at the end.
      use_bias: Whether biases are added.
      kernel_init: Initializer of the kernel.
      **settings: Further arguments of `Conv`, such as `dtype` and `name`.
    """
    return Conv(
        features,
        (kernel_size, kernel_size),
        strides,
        padding=padding or kernel_size // 2,
        feature_group_count=groups,
        use_bias=use_bias,
        kernel_init=kernel_init,
        **settings,
    )


def window(kernel_size: int | tuple[int, int]) -> tuple[int, int]:
    """Returns (height, width) of a kernel given by one side or by both."""
    return kernel_size if isinstance(kernel_size, tuple) else (kernel_size, kernel_size)


def same_symmetric(kernel_size: int | tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """Padding by half the kernel on each side; with an odd kernel the image keeps its size."""
    return tuple((side // 2, side // 2) for side in window(kernel_size))
