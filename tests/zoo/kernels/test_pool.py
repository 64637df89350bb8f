import jax
import numpy as np
import pytest
from flax import linen as nn

from zoo.kernels.pool import adaptive_average_pool, average_pool, max_pool
from zoo.layers.lrn import local_response_norm

GEOMETRIES = [
    pytest.param(8, 2, 2, 0, marks=pytest.mark.full),
    (9, 3, 2, 0),
    pytest.param(9, 2, 2, 0, marks=pytest.mark.full),
    (8, 3, 2, 1),
    pytest.param(7, 3, 1, 1, marks=pytest.mark.full),
    (8, 3, 2, "SAME"),
]


@pytest.mark.parametrize(
    ("size", "window", "strides", "padding"),
    GEOMETRIES,
)
def test_max_pool(size, window, strides, padding):
    """Equal to XLA's, its gradient too, also where small whole numbers make ties."""
    images = np.random.RandomState(0).randint(-9, -4, (2, size, size, 3)).astype(np.float32)
    pads = padding if padding == "SAME" else [(padding, padding)] * 2

    def native(images):
        return nn.max_pool(images, (window, window), (strides, strides), pads)

    def ours(images):
        return max_pool(images, window, strides, padding)

    np.testing.assert_array_equal(ours(images), native(images))
    weights = np.random.RandomState(1).standard_normal(native(images).shape)
    gradients = [jax.grad(lambda x, f=f: (f(x) * weights).sum())(images) for f in (ours, native)]
    np.testing.assert_allclose(*gradients, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize(("size", "window", "strides", "padding"), GEOMETRIES)
def test_average_pool(size, window, strides, padding, counted):
    images = np.random.RandomState(0).standard_normal((2, size, size, 3)).astype(np.float32)
    pads = padding if padding == "SAME" else [(padding, padding)] * 2

    def native(images):
        return nn.avg_pool(images, (window,) * 2, (strides,) * 2, pads, count_include_pad=counted)

    def ours(images):
        return average_pool(images, window, strides, padding, counted=counted)

    np.testing.assert_allclose(ours(images), native(images), rtol=1e-5, atol=1e-6)
    weights = np.random.RandomState(1).standard_normal(native(images).shape)
    gradients = [jax.grad(lambda x, f=f: (f(x) * weights).sum())(images) for f in (ours, native)]
    np.testing.assert_allclose(*gradients, rtol=1e-5, atol=1e-6)


def test_what_is_not_a_number_stays_so():
    images = np.zeros((1, 3, 3, 1), np.float32)
    images[0, 1, 1] = np.nan
    assert np.isnan(max_pool(images, 3, 1)).all()
    assert np.isnan(jax.value_and_grad(lambda x: max_pool(x, 3, 1).sum())(images)[0])


@pytest.mark.parametrize(
    ("size", "window", "strides", "padding", "expected"),
    [(8, 3, 2, 0, 4), (9, 3, 2, 0, 4), (2, 3, 2, 0, 1), (3, 2, 2, 0, 2), (5, 2, 2, 1, 3)],
)
def test_ceil_mode_keeps_the_last_window(size, window, strides, padding, expected):
    """Sizes as PyTorch's: a window that reaches over the end counts, one in the padding not."""
    images = -1 - np.random.RandomState(0).rand(2, size, size, 3).astype(np.float32)
    pooled = max_pool(images, window, strides, padding, ceil_mode=True)
    assert pooled.shape == (2, expected, expected, 3)
    start = (expected - 1) * strides - padding
    np.testing.assert_array_equal(pooled[:, -1, -1], images[:, start:, start:].max((1, 2)))


def test_gradient_goes_to_the_first_of_equal_maxima():
    """Small whole numbers, so that windows have ties; equal to XLA's own gradient."""
    images = np.random.RandomState(0).randint(0, 3, (2, 6, 8, 3)).astype(np.float32)
    weights = np.random.RandomState(1).standard_normal((2, 3, 4, 3)).astype(np.float32)

    def gradient(pool):
        return jax.grad(lambda x: (pool(x) * weights).sum())(images)

    native = gradient(lambda x: nn.max_pool(x, (2, 2), (2, 2)))
    np.testing.assert_array_equal(gradient(lambda x: max_pool(x, 2, 2)), native)
    tied = jax.grad(lambda x: max_pool(x, 2, 2).sum())(np.zeros((1, 2, 2, 1), np.float32))
    np.testing.assert_array_equal(tied[0, :, :, 0], [[1, 0], [0, 0]])


def test_adaptive_average_pool():
    """Bins as in PyTorch: 5 rows into 2 are rows 0-2 and 2-4."""
    images = np.arange(30, dtype=np.float32).reshape(1, 5, 6, 1)
    rows = [[0, 1, 2], [2, 3, 4]]
    columns = [[0, 1, 2], [3, 4, 5]]
    expected = [[images[0][np.ix_(r, c)].mean() for c in columns] for r in rows]
    np.testing.assert_allclose(adaptive_average_pool(images, 2)[0, :, :, 0], expected, rtol=1e-6)


def test_adaptive_average_pool_can_enlarge():
    images = np.array([1.0, 2.0], np.float32).reshape(1, 1, 2, 1)
    pooled = adaptive_average_pool(images, 4)[0, :, :, 0]
    np.testing.assert_array_equal(pooled, [[1, 1, 2, 2]] * 4)


def test_local_response_norm():
    x = np.random.RandomState(0).standard_normal((1, 2, 2, 7)).astype(np.float32)
    out = local_response_norm(x, size=5, alpha=0.1, beta=0.75, k=2.0)
    energy = (x[..., 1:6] ** 2).sum(-1)
    np.testing.assert_allclose(out[..., 3], x[..., 3] / (2 + 0.1 / 5 * energy) ** 0.75, rtol=1e-5)
    edge = (x[..., 0:3] ** 2).sum(-1)
    np.testing.assert_allclose(out[..., 0], x[..., 0] / (2 + 0.1 / 5 * edge) ** 0.75, rtol=1e-5)
