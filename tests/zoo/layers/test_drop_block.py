import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from zoo.layers.drop_block import DropBlock

pytestmark = pytest.mark.quick


def dropped(rate, size, shape, seed=0):
    layer = DropBlock(rate, size)
    out = layer.apply({}, jnp.ones(shape), train=True, rngs={"dropout": jax.random.key(seed)})
    return np.asarray(out)


@pytest.mark.parametrize("size", [2, 3, 7])
def test_squares_within_the_map_are_dropped(size):
    """What is dropped is a union of squares within the map: an opening by one changes nothing."""
    zero = dropped(0.1, size, (2, 14, 12, 5)) == 0
    assert zero.any() and not zero.all()
    for example in zero:
        for channel in np.moveaxis(example, -1, 0):
            opened = ndimage.binary_opening(channel, np.ones((size, size)))
            assert (opened == channel).all()
    assert (zero[..., 0] != zero[..., 1]).any()  # every channel draws its own


def test_the_share_that_is_dropped_and_the_mean():
    """Algorithm 1: about `rate`, a bit less as squares overlap; the mean stays."""
    out = dropped(0.1, 3, (64, 14, 14, 32))
    assert 0.085 < (out == 0).mean() < 0.1
    assert out.mean() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(np.unique(out), [0, 1 / (out != 0).mean()], rtol=1e-5)


def test_a_square_is_no_larger_than_the_map():
    out = dropped(0.5, 7, (400, 4, 4, 1))
    whole = out.reshape(400, -1)
    assert (whole == whole[:, :1]).all() and abs((whole[:, 0] == 0).mean() - 0.5) < 0.1


def test_nothing_is_dropped_in_evaluation_and_at_rate_zero():
    x = jnp.arange(32.0).reshape(1, 4, 4, 2)
    assert (DropBlock(0.5).apply({}, x, train=False) == x).all()
    assert (DropBlock(0.0).apply({}, x, train=True) == x).all()  # needs no random numbers
    at_start = DropBlock(jnp.zeros(())).apply(
        {}, x, train=True, rngs={"dropout": jax.random.key(0)}
    )
    np.testing.assert_allclose(at_start, x, rtol=1e-6)


def test_all_dropped_gives_zeros():
    out = dropped(0.999999, 2, (1, 2, 2, 1))
    assert (out == 0).all()
