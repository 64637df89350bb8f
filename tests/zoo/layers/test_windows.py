"""A dense layer on sliding windows is a convolution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.layers.windows import sliding_windows


def test_a_dense_layer_on_windows_is_a_convolution():
    random = np.random.RandomState(0)
    maps = jnp.asarray(random.standard_normal((2, 5, 6, 3)), jnp.float32)
    kernel = jnp.asarray(random.standard_normal((3 * 4 * 4, 7)), jnp.float32)  # channels first
    found = sliding_windows(maps, 4) @ kernel
    assert found.shape == (2, 2, 3, 7)
    as_convolution = kernel.reshape(3, 4, 4, 7).transpose(1, 2, 0, 3)
    expected = jax.lax.conv_general_dilated(
        maps, as_convolution, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_maps_that_are_too_small():
    with pytest.raises(ValueError, match="Maps of 3x6 have no window of 4x4"):
        sliding_windows(jnp.zeros((1, 3, 6, 1)), 4)
