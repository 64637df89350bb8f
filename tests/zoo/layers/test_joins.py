import jax
import jax.numpy as jnp
import numpy as np

from zoo.layers.joins import append_features, residual_sum

X = jnp.asarray([[[[-3.0, 1.0]]]])


def test_sum_of_a_shortcut_and_its_branches():
    np.testing.assert_array_equal(residual_sum(X, X, 4 + X), [[[[0, 7]]]])
    np.testing.assert_array_equal(residual_sum(X, X, relu=False), [[[[-6, 2]]]])


def test_features_lie_after_the_old_ones():
    np.testing.assert_array_equal(append_features(X, 2 * X[..., :1]), [[[[-3, 1, -6]]]])


def test_gradients_reach_both_sides():
    def total(x, y):
        return jnp.sum(append_features(residual_sum(x, 2 * y, relu=False), 5 * y))

    for_x, for_y = jax.grad(total, (0, 1))(X, X)
    np.testing.assert_array_equal(for_x, [[[[1, 1]]]])
    np.testing.assert_array_equal(for_y, [[[[7, 7]]]])
