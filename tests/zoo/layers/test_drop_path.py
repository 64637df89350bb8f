import jax
import jax.numpy as jnp
import numpy as np

from zoo.layers.drop_path import DropPath


def test_whole_examples_are_dropped_and_the_mean_is_kept():
    x = jnp.ones((4000, 3, 2))
    out = DropPath(0.25).apply({}, x, train=True, rngs={"dropout": jax.random.key(0)})
    per_example = np.asarray(out).reshape(4000, -1)
    assert (per_example == per_example[:, :1]).all()
    np.testing.assert_allclose(np.unique(per_example), [0, 4 / 3], rtol=1e-6)
    assert abs(per_example.mean() - 1) < 0.05


def test_identity_in_evaluation_and_at_rate_zero():
    x = jnp.arange(6.0).reshape(3, 2)
    assert (DropPath(0.5).apply({}, x, train=False) == x).all()
    assert (DropPath(0.0).apply({}, x, train=True) == x).all()  # needs no random numbers
