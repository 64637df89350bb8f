import jax
import numpy as np
import pytest

import zoo
from zoo import registry


def test_depth_and_width_are_attributes():
    """WRN-16-8 from another name; twice the width has four times the parameters."""
    model = zoo.create("wrn_28_10_cifar", depth=16, width=8)
    assert model == zoo.create("wrn_16_8_cifar")

    def count(width):
        model = zoo.create("wrn_16_8_cifar", width=width)
        shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))
        return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))

    assert count(16) / count(8) == pytest.approx(4, rel=0.01)


def test_a_depth_that_cannot_be_is_an_error():
    model = zoo.create("wrn_28_10_cifar", depth=68, width=3)
    with pytest.raises(ValueError, match=r"6 n \+ 4.*not 68.*wrn_68_3"):
        model.init(jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))


def test_wrn_68_3_has_68_layers_three_times_as_wide():
    params = registry.abstract_variables("wrn_68_3")["params"]
    blocks = [name for name in params if "block" in name]
    assert 2 * len(blocks) + 2 == 68
    assert params["stage1_block1"]["conv1"]["kernel"].shape == (3, 3, 64, 192)
