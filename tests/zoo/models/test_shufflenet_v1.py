import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.models.shufflenet_v1 import shuffle


def test_every_group_gets_channels_of_all_groups():
    channels = np.arange(12).reshape(1, 1, 1, 12)  # groups 0-3, 4-7, 8-11
    shuffled = shuffle(channels, 3)[0, 0, 0]
    assert [set(part // 4) for part in shuffled.reshape(3, 4)] == [{0, 1, 2}] * 3


def test_shuffle_is_the_inverse_of_the_papers():
    """Section 3.1: reshape to (g, n), transpose, flatten."""
    channels = np.random.RandomState(0).standard_normal((1, 2, 2, 12))
    papers = channels.reshape(1, 2, 2, 3, 4).swapaxes(-1, -2).reshape(1, 2, 2, 12)
    np.testing.assert_array_equal(shuffle(papers, 3), channels)


@pytest.mark.parametrize(("groups", "mflops"), [(1, 143), (2, 140), (3, 137), (4, 133), (8, 137)])
def test_the_widths_make_the_groups_cost_the_same(groups, mflops):
    """Table 1, last line."""
    gmacs = zoo.info(f"shufflenet_v1_g{groups}_1_0x").gmacs
    assert gmacs * 1000 == pytest.approx(mflops, rel=0.015)


def test_unknown_scale_names_those_there_are():
    model = zoo.create("shufflenet_v1_g3_1_0x", scale=0.75)
    with pytest.raises(ValueError, match="scales 0.5, 1.0, 1.5, 2.0, got 3 and 0.75"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
