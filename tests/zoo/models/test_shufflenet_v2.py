from functools import partial

import jax
import numpy as np
from flax import linen as nn

from zoo.layers.conv import Conv
from zoo.models.shufflenet_v2 import Unit, interleave


def test_interleave():
    left, right = np.array([[0, 1, 2]]), np.array([[10, 11, 12]])
    np.testing.assert_array_equal(interleave(left, right), [[0, 10, 1, 11, 2, 12]])


def test_half_of_the_channels_pass_untouched():
    norm = partial(nn.BatchNorm, use_running_average=True)
    unit = Unit(8, 1, partial(Conv, use_bias=False), norm)
    x = np.random.RandomState(0).standard_normal((2, 5, 5, 8)).astype(np.float32)
    y = unit.apply(unit.init(jax.random.key(0), x), x)
    np.testing.assert_array_equal(y[..., ::2], x[..., :4])
