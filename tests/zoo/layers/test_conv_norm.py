import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.layers.conv_norm import ConvNorm

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    ("kernel_size", "strides", "padding", "shape"),
    [
        (3, 1, "same_symmetric", (8, 8)),
        ((1, 7), 1, "same_symmetric", (8, 8)),
        (3, 2, "valid", (3, 3)),
    ],
)
def test_output_size(kernel_size, strides, padding, shape):
    layer = ConvNorm(5, kernel_size, strides, padding)
    x = jnp.ones((2, 8, 8, 4))
    assert layer.init_with_output(jax.random.key(0), x)[0].shape == (2, *shape, 5)


@pytest.mark.parametrize("relu", [True, False])
def test_is_convolution_then_batch_statistics_then_relu(relu):
    x = np.random.RandomState(0).standard_normal((4, 6, 6, 3)).astype(np.float32)
    layer = ConvNorm(5, 1, relu=relu, train=True, epsilon=1e-3)
    variables = layer.init(jax.random.key(0), x)
    y, updates = layer.apply(variables, x, mutable=["batch_stats"])
    plain = x @ np.asarray(variables["params"]["conv"]["kernel"])[0, 0]
    mean, variance = plain.mean((0, 1, 2)), plain.var((0, 1, 2))
    expected = (plain - mean) / np.sqrt(variance + 1e-3)
    np.testing.assert_allclose(y, np.maximum(expected, 0) if relu else expected, atol=1e-4)
    running = updates["batch_stats"]["norm"]["mean"]
    np.testing.assert_allclose(running, 0.1 * mean, atol=1e-5)
