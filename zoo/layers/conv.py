"""The convolution of every family: `nn.Conv`'s parameters and numbers, fast on CPU as well."""

import functools

from flax import linen as nn

from zoo.kernels.conv import conv
from zoo.layers import initializers

Conv = functools.partial(
    nn.Conv, kernel_init=initializers.lecun_normal(), conv_general_dilated=conv
)
